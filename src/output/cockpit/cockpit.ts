import type { Feed, Trouble } from '../../engine/watch/feed.js'
import type { Picture } from '../../engine/watch/picture.js'
import { type Key, Terminal } from '../terminal.js'
import { scrollLimit } from './pages.js'
import { drawScreen, pageRows } from './screen.js'
import { type Effect, FIRST, press, requestOf, type Ui } from './ui.js'

/** What the cockpit needs of a feed. */
export type Controls = Pick<Feed, 'ask' | 'act' | 'stop'>

/** The live view on a terminal: shows each picture, and obeys keys. */
export class Cockpit {
  private ui: Ui = FIRST
  private picture: Picture | undefined
  private trouble: Trouble | undefined
  private controls: Controls | undefined
  private readonly place: string
  private readonly terminal = new Terminal({
    onKey: (key) => this.key(key),
    onResize: () => this.draw(),
  })
  private readonly clock = setInterval(() => this.trouble && this.draw(), 1000)

  constructor(place: string) {
    this.place = place
  }

  open(controls: Controls): void {
    this.controls = controls
    this.terminal.open()
    this.draw()
  }

  close(): void {
    clearInterval(this.clock)
    this.terminal.close()
  }

  show(picture: Picture): void {
    this.picture = picture
    this.trouble = undefined
    this.draw()
  }

  showTrouble(trouble: Trouble): void {
    this.trouble = trouble
    this.draw()
  }

  private draw(): void {
    const scene = { ui: this.ui, picture: this.picture, trouble: this.trouble, place: this.place }
    this.terminal.draw(drawScreen(scene, this.terminal.size, Date.now()))
  }

  private key(key: Key): void {
    if (this.picture === undefined) {
      if (key.name === 'q' || (key.ctrl && key.name === 'c')) this.controls?.stop()
      return
    }
    const before = JSON.stringify(requestOf(this.ui))
    const { columns, rows } = this.terminal.size
    const page = { columns, rows: pageRows({ columns, rows }) }
    const { ui, effect } = press(this.ui, key, this.picture, {
      rows: page.rows - 2,
      scrollLimit: scrollLimit(this.picture, page),
    })
    this.ui = ui
    if (JSON.stringify(requestOf(ui)) !== before) this.turn()
    if (effect) void this.carryOut(effect)
    this.draw()
  }

  /** A page shows nothing of the one before. */
  private turn(): void {
    const { page } = this.ui
    if (page === 'tasks') this.picture = { ...this.picture!, tasks: [] }
    this.controls?.ask(requestOf(this.ui))
  }

  private async carryOut(effect: Effect): Promise<void> {
    if (effect.kind === 'quit') return this.controls?.stop()
    const { verb, id } = effect
    const message = await this.controls!.act(verb, id).then(
      (isDone) => sayDone(verb, id, isDone),
      (error: Error) => error.message,
    )
    this.ui = { ...this.ui, message }
    this.draw()
  }
}

function sayDone(verb: 'cancel' | 'retry', id: string, isDone: boolean): string {
  if (!isDone)
    return `Task ${id} could not be ${verb === 'cancel' ? 'cancelled' : 'retried'}: it has changed meanwhile`
  return verb === 'cancel' ? `Task ${id} is to end` : `Task ${id} is pending again`
}
