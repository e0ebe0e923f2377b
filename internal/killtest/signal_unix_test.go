//go:build unix

package killtest_test

import (
	"syscall"

	"github.com/maildriver/maildriver/internal/killtest"
)

func stop(c *killtest.Child)      { c.Signal(syscall.SIGSTOP) }
func terminate(c *killtest.Child) { c.Signal(syscall.SIGTERM) }
func resume(c *killtest.Child)    { c.Signal(syscall.SIGCONT) }
