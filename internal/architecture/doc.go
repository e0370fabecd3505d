// Package architecture holds no code, only tests: of what the compiler and the
// linters do not see. Which package may import which and what must never be
// linked into one, with the reason beside each rule; names that say nothing;
// sizes; that every reason of a refusal is in the runbook and every row of the
// attack table that was promised is a test; that nothing of somebody's machine
// is in the repository.
package architecture
