import { spawnSync } from 'node:child_process'
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isRoot } from '../embedded/owner.js'

const SIZE = '600m'

/** A small disk for the server's folder, which can be filled up. */
export class Disk {
  private readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** Undefined where we may not mount: that takes root on Linux. */
  static mount(folder: string): Disk | undefined {
    if (process.platform !== 'linux' || !isRoot()) return undefined
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE},mode=755`, 'tmpfs', folder])
    return mounted.status === 0 ? new Disk(folder) : undefined
  }

  /** Until free(): not a byte is left. */
  fill(): void {
    const { bavail, bsize } = statfsSync(this.folder)
    try {
      writeFileSync(this.ballast, Buffer.alloc(bavail * bsize))
    } catch (error) {
      // what the server took meanwhile does not matter
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    }
  }

  free(): void {
    rmSync(this.ballast, { force: true })
  }

  unmount(): void {
    this.free()
    spawnSync('umount', ['-l', this.folder])
  }

  private get ballast(): string {
    return join(this.folder, 'ballast')
  }
}
