import type { LookRequest, State } from '../../engine/watch/look.js'
import type { Picture } from '../../engine/watch/picture.js'
import type { Key } from '../terminal.js'

export type Page = 'topics' | 'tasks' | 'task' | 'workers' | 'help'

/** What a person looks at and has selected; lines are selected by key, since others come and go. */
export interface Ui {
  page: Page
  /** pages to go back to */
  from: Page[]
  selected: { topics: string; tasks: string; workers: string }
  /** as in selected.topics: '' all topics, '/' none, '/mail' mail */
  topic: string
  states: number
  /** the task shown in full, and its first line on the screen */
  task: string | undefined
  scroll: number
  /** part of the names of topics that are shown */
  search: string
  isSearching: boolean
  confirm: { verb: 'cancel' | 'retry'; id: string; state: State } | undefined
  message: string
}

export const FIRST: Ui = {
  page: 'topics',
  from: [],
  selected: { topics: '', tasks: '', workers: '' },
  topic: '',
  states: 0,
  task: undefined,
  scroll: 0,
  search: '',
  isSearching: false,
  confirm: undefined,
  message: '',
}

export const STATE_CHOICES: { name: string; states: State[] | undefined }[] = [
  { name: 'all states', states: undefined },
  { name: 'pending and retrying', states: ['pending', 'retrying'] },
  ...(['running', 'failed', 'finished', 'cancelled'] as const).map((s) => ({
    name: s,
    states: [s] as State[],
  })),
]

export type Effect = { kind: 'quit' } | { kind: 'act'; verb: 'cancel' | 'retry'; id: string }

export interface Pressed {
  ui: Ui
  effect?: Effect
}

/** What the next looks have to bring for this page. */
export function requestOf({ page, topic, states, task }: Ui): LookRequest {
  return {
    topics: page !== 'tasks' ? undefined : topic === '' ? [] : [topic.slice(1)],
    states: STATE_CHOICES[states]!.states,
    id: page === 'task' ? task : undefined,
  }
}

/** The keys of the lines that can be selected. */
export function lineKeys(ui: Ui, picture: Picture): string[] {
  if (ui.page === 'tasks') return picture.tasks.map((t) => t.id)
  if (ui.page === 'workers') return picture.workers.map((w) => w.id)
  return [...(ui.search === '' ? [''] : []), ...shownTopics(ui, picture).map((t) => `/${t.topic ?? ''}`)]
}

/** Topics that have waiting or running tasks first, both parts by name. */
export function shownTopics({ search }: Ui, { topics }: Picture): Picture['topics'] {
  const found = topics.filter((t) => (t.topic ?? '').toLowerCase().includes(search.toLowerCase()))
  const isBusy = ({ states }: Picture['topics'][number]) =>
    states.pending.count + states.running.count + states.retrying.count > 0
  return [...found.filter(isBusy), ...found.filter((t) => !isBusy(t))]
}

/** The place of the selected line; the first where that has gone. */
export function selectedIndex(ui: Ui, keys: string[]): number {
  return ui.page === 'task' || ui.page === 'help' ? 0 : Math.max(0, keys.indexOf(ui.selected[ui.page]))
}

/** How much a page shows at once, and how far a task in full can be scrolled. */
export interface Extent {
  rows: number
  scrollLimit: number
}

/** What a key does. */
export function press(ui: Ui, key: Key, picture: Picture, extent: Extent): Pressed {
  if (key.ctrl) return key.name === 'c' || key.name === 'd' ? { ui, effect: { kind: 'quit' } } : { ui }
  if (ui.confirm) return answer(ui, key)
  if (ui.isSearching) return { ui: search(ui, key) }
  const quiet = { ...ui, message: '' }
  const moved = move(quiet, key, picture, extent)
  if (moved) return { ui: moved }
  switch (key.name) {
    case 'q':
      return { ui, effect: { kind: 'quit' } }
    case 'escape':
    case 'left':
    case 'backspace':
      return { ui: back(quiet) }
    case 'return':
    case 'right':
      return { ui: enter(quiet, picture) }
    case 'c':
      return { ui: offer(quiet, 'cancel', picture) }
    case 'r':
      return { ui: offer(quiet, 'retry', picture) }
    default:
      return { ui: turnTo(quiet, key) }
  }
}

function turnTo(ui: Ui, key: Key): Ui {
  if (key.name === 'w') return go(ui, 'workers')
  if (key.name === 't') return { ...ui, page: 'topics', from: [] }
  if (key.name === 's' && ui.page === 'tasks')
    return { ...ui, states: (ui.states + 1) % STATE_CHOICES.length }
  if (key.text === '?') return go(ui, 'help')
  if (key.text === '/' && ui.page === 'topics') return { ...ui, isSearching: true }
  return ui
}

const go = (ui: Ui, page: Page): Ui =>
  ui.page === page ? ui : { ...ui, page, from: [...ui.from, ui.page], scroll: 0 }

function back(ui: Ui): Ui {
  if (ui.from.length === 0) return { ...ui, search: '' }
  return { ...ui, page: ui.from.at(-1)!, from: ui.from.slice(0, -1) }
}

function move(ui: Ui, key: Key, picture: Picture, { rows, scrollLimit }: Extent): Ui | undefined {
  const steps: Record<string, number> = {
    up: -1,
    k: -1,
    down: 1,
    j: 1,
    pageup: -rows,
    pagedown: rows,
    home: Number.NEGATIVE_INFINITY,
    end: Number.POSITIVE_INFINITY,
  }
  const step = steps[key.name]
  if (step === undefined) return undefined
  if (ui.page === 'help') return ui
  if (ui.page === 'task') return { ...ui, scroll: Math.max(0, Math.min(ui.scroll + step, scrollLimit)) }
  const keys = lineKeys(ui, picture)
  const index = Math.max(0, Math.min(keys.length - 1, selectedIndex(ui, keys) + step))
  return { ...ui, selected: { ...ui.selected, [ui.page]: keys[index] ?? '' } }
}

function enter(ui: Ui, picture: Picture): Ui {
  const keys = lineKeys(ui, picture)
  const selected = keys[selectedIndex(ui, keys)]
  if (selected === undefined) return ui
  if (ui.page === 'topics')
    return { ...go(ui, 'tasks'), topic: selected, states: 0, selected: { ...ui.selected, tasks: '' } }
  const task = chosenTask(ui, picture)
  return task === undefined || ui.page === 'task' ? ui : { ...go(ui, 'task'), task: task.id }
}

/** The task that a key on this page means. */
function chosenTask(ui: Ui, picture: Picture): { id: string; state: State } | undefined {
  if (ui.page === 'task') return picture.task?.id === ui.task ? (picture.task ?? undefined) : undefined
  const keys = lineKeys(ui, picture)
  const index = selectedIndex(ui, keys)
  if (ui.page === 'tasks') return picture.tasks[index]
  const task = ui.page === 'workers' ? picture.workers[index]?.task : undefined
  return task ? { id: task, state: 'running' } : undefined
}

function offer(ui: Ui, verb: 'cancel' | 'retry', picture: Picture): Ui {
  const task = chosenTask(ui, picture)
  if (!task) return { ...ui, message: 'Select a task first' }
  const fits = verb === 'cancel' ? ['pending', 'running', 'retrying'] : ['failed', 'cancelled']
  if (!fits.includes(task.state))
    return {
      ...ui,
      message: `Task ${task.id} is ${task.state}, so it cannot be ${verb === 'cancel' ? 'cancelled' : 'retried'}`,
    }
  return { ...ui, confirm: { verb, ...task } }
}

function answer(ui: Ui, key: Key): Pressed {
  const { verb, id } = ui.confirm!
  const done = { ...ui, confirm: undefined }
  if (key.name !== 'y') return { ui: { ...done, message: 'Nothing was done' } }
  return { ui: { ...done, message: '' }, effect: { kind: 'act', verb, id } }
}

function search(ui: Ui, key: Key): Ui {
  if (key.name === 'return') return { ...ui, isSearching: false }
  if (key.name === 'escape') return { ...ui, isSearching: false, search: '' }
  if (key.name === 'backspace') return { ...ui, search: [...ui.search].slice(0, -1).join('') }
  return /^[^\p{Cc}]+$/u.test(key.text) ? { ...ui, search: ui.search + key.text } : ui
}
