#!/usr/bin/env node
import module from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

// Node 22.1 and newer keep compiled code: in a folder of the user's own, for whoever may write it runs code as we
module.enableCompileCache?.(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'pgbq'))

// required, for to import CommonJS costs a parse of each file more: 30 ms of the 100 that a command takes to start
const { execute } = module.createRequire(import.meta.url)('@oclif/core/execute')
await execute({ dir: import.meta.url })
