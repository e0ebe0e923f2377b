package driver

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

// Common holds what every driver needs. A protocol package passes a *Common to
// [Apply]. A copy is independent of the original.
type Common struct {
	// Logger is never nil once made by NewCommon; the default discards.
	Logger *slog.Logger
	// Profile is the name the host knows this mailbox by, or "".
	Profile string
	// From is the profile's own address (parameter "From Address"): the sender
	// of what is sent, the receiver of what comes in.
	From mime.Address
	// Spool is where files live. Polling needs one; sending uses it for the
	// SMTP_..tmp file.
	Spool *spool.Spool
}

// NewCommon returns the defaults.
func NewCommon() Common { return Common{Logger: slog.New(slog.DiscardHandler)} }

func commonOption(name string, set func(*Common) error) Option {
	return NewOption("driver."+name, set)
}

// WithLogger sends log records to l. Keys are stable and secrets never appear.
// The default is silence.
func WithLogger(l *slog.Logger) Option {
	return commonOption("Logger", func(c *Common) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		c.Logger = l
		return nil
	})
}

// WithProfile names the profile in events and logs.
func WithProfile(name string) Option {
	return commonOption("Profile", func(c *Common) error { c.Profile = name; return nil })
}

// WithFrom sets the profile's own address, e.g. "Support <support@example.com>":
// sender of outbound mail, ReceiverName and ReceiverAddress of inbound mail.
// More than one address is refused.
func WithFrom(address string) Option {
	return commonOption("From", func(c *Common) error {
		list, err := mime.ParseAddressList(address)
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("%d addresses where one is needed", len(list))
		}
		c.From = list[0]
		return nil
	})
}

// WithSpool sets the directories that hold mail while it is worked on. Several
// drivers and processes may share one spool.
func WithSpool(s *spool.Spool) Option {
	return commonOption("Spool", func(c *Common) error {
		if s == nil {
			return errors.New("the spool is nil")
		}
		c.Spool = s
		return nil
	})
}
