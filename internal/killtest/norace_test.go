//go:build !race

package killtest_test

const underRace = false
