/** A line on a terminal's stderr that is written over; silent where it is no terminal. */
export function progressLine(what: string): { show(count: number, of?: number): void; clear(): void } {
  const isShown = process.stderr.isTTY === true
  let last = 0
  return {
    show(count, of) {
      if (!isShown || Date.now() - last < 100) return
      last = Date.now()
      process.stderr.write(
        `\r\x1b[K${count.toLocaleString('en')}${of === undefined ? '' : ` of ${of.toLocaleString('en')}`} ${what}`,
      )
    },
    clear() {
      if (isShown && last > 0) process.stderr.write('\r\x1b[K')
    },
  }
}
