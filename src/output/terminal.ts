import { writeSync } from 'node:fs'
import { emitKeypressEvents } from 'node:readline'

/** A key as people press it; `text` is what it would write. */
export interface Key {
  name: string
  text: string
  ctrl: boolean
}

const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l'
/** Terminals that know it show a frame at once; the others ignore it. */
const BEGIN_FRAME = '\u001b[?2026h'
const END_FRAME = '\u001b[?2026l'

/**
 * The whole screen of a terminal, given back as it was, however the process ends (SIGKILL excepted). Not a library:
 * ink, the one that is kept, weighs 25 MB with react, takes 0.3 s to load, and has no alternate screen; what is needed
 * is to write the lines that have changed.
 */
export class Terminal {
  private shown: string[] = []
  private isOpen = false
  private readonly onKey: (key: Key) => void
  private readonly onResize: () => void

  constructor({ onKey, onResize }: { onKey: (key: Key) => void; onResize: () => void }) {
    this.onKey = onKey
    this.onResize = onResize
  }

  get size(): { columns: number; rows: number } {
    return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
  }

  open(): void {
    process.once('exit', this.leave)
    process.on('SIGCONT', this.resume)
    process.stdout.on('resize', this.resized)
    emitKeypressEvents(process.stdin)
    process.stdin.on('keypress', this.pressed)
    this.enter()
  }

  close(): void {
    this.leave()
    process.off('exit', this.leave)
    process.off('SIGCONT', this.resume)
    process.stdout.off('resize', this.resized)
    process.stdin.off('keypress', this.pressed)
    process.stdin.pause()
  }

  /** Shows these lines and nothing else; each must fit. */
  draw(lines: string[]): void {
    if (!this.isOpen) return
    const { rows } = this.size
    const changes = Array.from({ length: rows }, (_, i) => lines[i] ?? '').flatMap((line, i) =>
      line === this.shown[i] ? [] : [`\u001b[${i + 1};1H\u001b[0m\u001b[2K${line}`],
    )
    this.shown = Array.from({ length: rows }, (_, i) => lines[i] ?? '')
    if (changes.length > 0) process.stdout.write(`${BEGIN_FRAME}${changes.join('')}${END_FRAME}`)
  }

  private readonly enter = (): void => {
    if (this.isOpen) return
    this.isOpen = true
    this.shown = []
    process.stdin.setRawMode?.(true)
    process.stdin.resume()
    process.stdout.write(ENTER)
  }

  /** Written at once: at the end of a process nothing is sent later. */
  private readonly leave = (): void => {
    if (!this.isOpen) return
    this.isOpen = false
    try {
      process.stdin.setRawMode?.(false)
      writeSync(process.stdout.fd, LEAVE)
    } catch {} // the terminal has gone
  }

  private readonly resume = (): void => {
    this.enter()
    this.onResize()
  }

  private readonly resized = (): void => {
    this.shown = []
    this.onResize()
  }

  private readonly pressed = (text: string | undefined, key: { name?: string; ctrl?: boolean }): void => {
    if (key.ctrl && key.name === 'z') this.suspend()
    else if (key.ctrl && key.name === 'l') this.resized()
    else this.onKey({ name: key.name ?? text ?? '', text: text ?? '', ctrl: key.ctrl ?? false })
  }

  /** As the shell's job control has it: the screen is the shell's until `fg`. */
  private suspend(): void {
    this.leave()
    process.kill(process.pid, 'SIGSTOP')
  }
}
