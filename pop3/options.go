package pop3

import (
	"fmt"

	"github.com/maildriver/maildriver/driver"
)

// Defaults of the options of this package.
const (
	// DefaultWindow is how many commands are in flight where the server offers
	// PIPELINING.
	DefaultWindow = 32
	// DefaultMaxListing is how many mails a mailbox may hold.
	DefaultMaxListing = 1_000_000
)

// Ports that are used when the address has none.
const (
	DefaultPort    = 110 // with SecurityNone and SecurityExplicit (RFC 1939)
	DefaultTLSPort = 995 // with SecurityImplicit (RFC 8314)
)

type settings struct {
	window     int
	maxListing int
}

func newSettings() settings {
	return settings{window: DefaultWindow, maxListing: DefaultMaxListing}
}

func option(name string, set func(*settings) error) driver.Option {
	return driver.NewOption("pop3."+name, set)
}

// WithWindow bounds the commands that are sent ahead of their replies, 1 to
// 1000; default [DefaultWindow]. It matters only where the server offers
// PIPELINING (RFC 2449 section 6.6). 1 turns pipelining off.
func WithWindow(n int) driver.Option {
	return option("Window", func(s *settings) error {
		if n < 1 || n > 1000 {
			return fmt.Errorf("%d is not between 1 and 1000", n)
		}
		s.window = n
		return nil
	})
}

// WithMaxListing bounds the mails in the mailbox; default [DefaultMaxListing].
// A server that lists more is an error, [driver.ErrLimit]: memory for a listing
// is what a hostile server could ask for.
func WithMaxListing(n int) driver.Option {
	return option("MaxListing", func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("%d is less than 1", n)
		}
		s.maxListing = n
		return nil
	})
}

// Only bundles options for the POP3 half of a [driver.Pair]; the other half
// ignores them.
func Only(opts ...driver.Option) driver.Option {
	return driver.NewOnly[settings]("pop3.Only", opts...)
}
