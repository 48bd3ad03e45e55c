import type { OwnCall } from '../../engine/schedule/own-call.js'

/** A unit that makes the call, and the timer that starts it: names of the files, and their texts. */
export interface SystemdFiles {
  service: { name: string; text: string }
  timer: { name: string; text: string }
}

export interface SystemdOptions {
  /** whose account the workers use */
  user: string
  /** how long a stop may take */
  stopWithinSec: number
}

/**
 * The unit runs in the foreground, so that systemd sees, stops and counts all of it; while it runs, the timer's start
 * does nothing. https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html
 */
export function systemdFiles(call: OwnCall, { user, stopWithinSec }: SystemdOptions): SystemdFiles {
  const unit = `pgbq-${call.name.replaceAll(/[^\w.]/g, '_')}`
  const of = `the queue in ${call.name === 'embedded' ? 'the embedded PostgreSQL' : `database ${call.name}`}`
  return {
    service: { name: `${unit}.service`, text: service(call, percent(of), user, stopWithinSec) },
    timer: { name: `${unit}.timer`, text: timer(percent(of)) },
  }
}

function service({ variables, words }: OwnCall, of: string, user: string, stopWithinSec: number): string {
  const [program, ...rest] = words
  return `[Unit]
Description=Workers of ${of}, while tasks are due
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User=${percent(user)}
${variables.map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}\n`).join('')}ExecStart=${[
    quoted(program!),
    ...rest.map((word) => quoted(word).replaceAll('$', '$$$$')),
  ].join(' ')}
# the supervisor lets running tasks end, then gives them back
KillMode=mixed
TimeoutStopSec=${stopWithinSec}
`
}

function timer(of: string): string {
  return `[Unit]
Description=Looks every minute whether tasks are due in ${of}

[Timer]
OnCalendar=minutely
AccuracySec=1s

[Install]
WantedBy=timers.target
`
}

const percent = (text: string): string => text.replaceAll('%', '%%')

/** systemd.syntax(7) */
const quoted = (text: string): string =>
  /^[\w@+=:,./-]+$/.test(text) ? text : `"${percent(text).replaceAll(/["\\]/g, '\\$&')}"`
