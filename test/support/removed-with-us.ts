import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'

/** It reads to the end of its input, which comes with the end of this process, however that ends. */
const WATCH = `cat > /dev/null
if [ -f "$1/data/postmaster.pid" ]; then kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"; sleep 1; fi
rm -rf "$1"`

/**
 * A folder that goes, with the server whose data is in it, when this process is killed. Gives what removes it now, once
 * its server is down.
 */
export function removedWithUs(folder: string): () => void {
  // detached: Ctrl-C is for us and not for it
  const watch = spawn('sh', ['-c', WATCH, 'sh', folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    cwd: '/',
  })
  watch.unref()
  return () => {
    rmSync(folder, { recursive: true, force: true })
    watch.stdin.end()
  }
}
