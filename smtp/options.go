package smtp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

const (
	// DefaultDataTimeout is how long the reply to the end of a message may
	// take (RFC 5321 section 4.5.3.2.6). A server that scans the message
	// before it answers needs the time, and giving up earlier makes the
	// outcome unknown.
	DefaultDataTimeout = 600 * time.Second
	// DefaultMaxLineLength is the longest line in octets, without its CRLF,
	// that is sent (RFC 5321 section 4.5.3.1.6).
	DefaultMaxLineLength = 998
)

// settings is what the options of this package set. A copy is independent.
type settings struct {
	heloName       string
	saveSent       bool
	keepUnsent     bool
	notify         []string
	commandTimeout time.Duration // 0: Network.Timeout
	dataTimeout    time.Duration
	maxLine        int
}

func defaultSettings() settings {
	return settings{dataTimeout: DefaultDataTimeout, maxLine: DefaultMaxLineLength}
}

func option(name string, set func(*settings) error) driver.Option {
	return driver.NewOption("smtp."+name, set)
}

// Only makes options hold for SMTP alone where a driver is a pair.
func Only(opts ...driver.Option) driver.Option { return driver.NewOnly[settings]("smtp.Only", opts...) }

// WithHeloName sets the name by which we greet the server: a domain name or an
// address literal such as "[192.0.2.1]". The default is the name of this host
// if that is fully qualified, and otherwise the literal of the address the
// connection comes from (RFC 5321 section 4.1.4).
func WithHeloName(name string) driver.Option {
	return option("HeloName", func(s *settings) error {
		if err := checkDomain(name); err != nil {
			return &ArgumentError{"HELO name", name, err}
		}
		s.heloName = name
		return nil
	})
}

// WithSaveSent keeps the SMTP_..tmp file of each message that was accepted for
// at least one recipient in the sent directory (parameter "Save Sent
// Messages"). It needs a spool. The default is to remove it.
func WithSaveSent(save bool) driver.Option {
	return option("SaveSent", func(s *settings) error { s.saveSent = save; return nil })
}

// WithKeepUnsent keeps the SMTP_..tmp file of messages that were not sent, or
// whose outcome is unknown. Nothing ever sends them again from there. The
// default is to remove it: the caller still has the message.
func WithKeepUnsent(keep bool) driver.Option {
	return option("KeepUnsent", func(s *settings) error { s.keepUnsent = keep; return nil })
}

// WithNotify asks for delivery status notifications (RFC 3461) for recipients
// that set none themselves: "NEVER", or any of "SUCCESS", "FAILURE", "DELAY".
// Without arguments it asks for nothing, the default. A server without the
// extension DSN is not asked, and sends what it likes.
//
// A message that asks for notifications and has no EnvelopeID gets its
// Message-ID for one, so that each notification tells what it is about.
func WithNotify(set ...string) driver.Option {
	return option("Notify", func(s *settings) error {
		list, err := encodeNotify(strings.Join(set, ","))
		if err != nil {
			return err
		}
		s.notify = nil
		if list != "" {
			s.notify = slices.Collect(strings.SplitSeq(list, ","))
		}
		return nil
	})
}

// WithCommandTimeout bounds the wait for the reply to each command; the default
// is that of [driver.WithTimeout]. RFC 5321 section 4.5.3.2 would have servers
// be given up to 5 minutes.
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

// WithMaxLineLength sets the longest line, in octets without CRLF, that is
// sent; a message with a longer one is refused with a [*ContentError] before
// anything is sent. Default [DefaultMaxLineLength]; 0 lifts the limit, for
// servers that are known to take such lines whole: many fold or cut them.
func WithMaxLineLength(n int) driver.Option {
	return option("MaxLineLength", func(s *settings) error {
		if n < 0 {
			return errors.New("the limit is negative")
		}
		s.maxLine = n
		return nil
	})
}
