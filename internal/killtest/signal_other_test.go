//go:build !unix

package killtest_test

import "github.com/maildriver/maildriver/internal/killtest"

// Processes cannot be stopped here; the rest of the tests holds.
func stop(*killtest.Child)   {}
func resume(*killtest.Child) {}

func terminate(c *killtest.Child) { c.Kill() }
