//go:build race

package driver_test

// raced: the race detector makes everything ten times slower; the crash tests then try fewer points.
const raced = true
