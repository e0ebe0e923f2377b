//go:build race

package killtest_test

// underRace: the race detector multiplies memory and time, so that measuring
// memory there tells nothing.
const underRace = true
