import type { Reporter, TestModule } from 'vitest/node'

/** Says why each skipped test was skipped, and closes the run with `N passed, N failed, N skipped`. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0 }
    for (const module of modules) {
      if (module.errors().length > 0) count.failed++
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state === 'skipped') {
          count.skipped++
          process.stdout.write(`skipped: ${test.fullName}: ${result.note ?? 'no reason given'}\n`)
        } else if (result.state === 'passed') count.passed++
        else count.failed++
      }
    }
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`)
  }
}
