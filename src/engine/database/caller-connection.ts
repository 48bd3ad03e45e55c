/** A connection of the caller's own: `Client`, `PoolClient` and `Pool` of `pg` are. */
export interface CallerConnection {
  query(query: CallerQuery): Promise<{ rows: unknown[] }>
}

export interface CallerQuery {
  text: string
  values: unknown[]
  types: { getTypeParser(oid: number, format?: string): (text: string) => unknown }
}
