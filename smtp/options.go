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
	// DefaultMaxLineLength is the longest line in octets, without its CRLF,
	// that is sent (RFC 5321 section 4.5.3.1.6).
	DefaultMaxLineLength = 998
	// DefaultMaxRecipients is how many recipients one transaction has at most:
	// the number that every server must take (RFC 5321 section 4.5.3.1.8).
	DefaultMaxRecipients = 100
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
	maxRecipients  int
	oneByOne       bool // neither CHUNKING nor PIPELINING
	authFailover   bool
	bodyDir        string
	bodyAlways     bool
}

func defaultSettings() settings {
	return settings{dataTimeout: DefaultDataTimeout, maxLine: DefaultMaxLineLength, maxRecipients: DefaultMaxRecipients}
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

// WithMaxLineLength sets the longest line, in octets without CRLF, that is
// sent. A part of a message with a longer one is sent in quoted-printable or
// base64, unless the server takes binary content. Default
// [DefaultMaxLineLength]; 0 lifts the limit, for servers that are known to
// take such lines whole: many fold or cut them.
func WithMaxLineLength(n int) driver.Option {
	return option("MaxLineLength", func(s *settings) error {
		if n < 0 {
			return errors.New("the limit is negative")
		}
		s.maxLine = n
		return nil
	})
}

// WithMaxRecipients sets how many recipients one transaction has at most;
// default [DefaultMaxRecipients]. A message to more is sent in several, one
// after the other, with one receipt for all. What the server tells with the
// extension LIMITS (RFC 9422) counts as well.
func WithMaxRecipients(n int) driver.Option {
	return option("MaxRecipients", func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("%d is not positive", n)
		}
		s.maxRecipients = n
		return nil
	})
}

// WithDisableChunking makes the driver use neither CHUNKING nor PIPELINING
// (parameter DISABLECHUNKING), for virus scanners on the path that do not
// understand them: each command waits for the reply to the one before, and
// content goes with DATA. The default is to use both where they are offered.
func WithDisableChunking(disable bool) driver.Option {
	return option("DisableChunking", func(s *settings) error { s.oneByOne = disable; return nil })
}

// WithLongBody writes the body of each message that was accepted and whose body
// has more than [LongBodySize] bytes, or of each one with always, to a file
// SiebelLongEmailBody.htm or .txt in a new directory of its own below dir. It
// is for the host's records and is not sent; [driver.Receipt.BodyFile] names
// it, and it is the host's to remove. "" as dir makes none, the default.
func WithLongBody(dir string, always bool) driver.Option {
	return option("LongBody", func(s *settings) error { s.bodyDir, s.bodyAlways = dir, always; return nil })
}
