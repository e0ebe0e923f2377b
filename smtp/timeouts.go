package smtp

import (
	"fmt"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// The time limits of RFC 5321 section 4.5.3.2. [driver.WithTimeout] and
// [WithCommandTimeout] lower them.
const (
	// DefaultTimeout bounds setting up a connection (look-up, connecting, TLS
	// and greeting together) and the wait for the reply to each command.
	DefaultTimeout = 5 * time.Minute
	// DefaultConnectTimeout is what look-up and connecting may take of it: a
	// host that is gone should not keep a backup server waiting for minutes.
	DefaultConnectTimeout = 30 * time.Second
	// DefaultDataStartTimeout bounds the wait for the reply to DATA.
	DefaultDataStartTimeout = 2 * time.Minute
	// DefaultBlockTimeout is how long the server may take for each block of 32
	// KiB of content. A server that is slower has stalled, and the send ends.
	DefaultBlockTimeout = 3 * time.Minute
	// DefaultDataTimeout is how long the reply to the end of a message may
	// take. A server that scans the message before it answers needs the time,
	// and giving up earlier makes the outcome unknown.
	DefaultDataTimeout = 10 * time.Minute
)

// WithCommandTimeout bounds the wait for the reply to each command; the default
// is that of [driver.WithTimeout], or else [DefaultTimeout].
func WithCommandTimeout(d time.Duration) driver.Option {
	return option("CommandTimeout", func(s *settings) error {
		if d <= 0 {
			return fmt.Errorf("%v is not positive", d)
		}
		s.commandTimeout = d
		return nil
	})
}

// WithDataTimeout bounds the wait for the reply to the end of a message;
// default [DefaultDataTimeout]. A message whose reply does not come in time has
// an unknown outcome: a shorter time makes that more likely.
func WithDataTimeout(d time.Duration) driver.Option {
	return option("DataTimeout", func(s *settings) error {
		if d <= 0 {
			return fmt.Errorf("%v is not positive", d)
		}
		s.dataTimeout = d
		return nil
	})
}
