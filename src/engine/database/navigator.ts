/**
 * `pg` looks at its first import whether it runs at Cloudflare: by `navigator` where there is one, else with a Response,
 * for which Node 20 loads all of its fetch (15 to 20 ms of each start). Node 21 and newer have a navigator; this is
 * theirs. To be imported before `pg`.
 */
if (!('navigator' in globalThis)) {
  const navigator = { userAgent: `Node.js/${process.versions.node.split('.')[0]}` }
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true })
}
