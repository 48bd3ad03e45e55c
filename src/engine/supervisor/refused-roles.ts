const REFUSED_FOR_MS = 60_000

/** Roles that the server did not let us log in as; each is tried again after a minute. */
export class RefusedRoles {
  private readonly until = new Map<string, number>()

  /** True where it is news. */
  add(role: string): boolean {
    const isNews = !this.names.includes(role)
    this.until.set(role, performance.now() + REFUSED_FOR_MS)
    return isNews
  }

  get names(): string[] {
    const now = performance.now()
    return [...this.until].filter(([, until]) => until > now).map(([role]) => role)
  }
}
