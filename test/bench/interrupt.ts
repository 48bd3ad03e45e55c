/** Rejects at the first signal to stop, so that whatever was started is ended. */
export function onInterrupt(): Promise<never> {
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => reject(new Error(`Stopped by ${signal}`)))
    }
  })
  interrupted.catch(() => undefined) // it may come before anybody waits for it
  return interrupted
}
