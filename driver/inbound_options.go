package driver

import (
	"fmt"
	"maps"
	"time"

	"github.com/maildriver/maildriver/mime"
)

// Defaults of the inbound options.
const (
	// DefaultBatchSize is how many mails one session hands over at most.
	DefaultBatchSize = 10
	// DefaultHandlerTimeout bounds one call of a handler.
	DefaultHandlerTimeout = 5 * time.Minute
	// DefaultHandlerGrace is how long a handler may take to return after its
	// context ended.
	DefaultHandlerGrace = 30 * time.Second
	// DefaultMaxAttempts is how often a mail may take the process, the handler
	// or the parser down before it goes to the failed directory.
	DefaultMaxAttempts = 5
	// DefaultRetryMin and DefaultRetryMax bound the back-off of a refused mail,
	// which doubles each time.
	DefaultRetryMin = 30 * time.Second
	DefaultRetryMax = time.Hour
	// DefaultMaxBodyBytes bounds Event.Text and Event.HTML each: 4 MiB.
	DefaultMaxBodyBytes = 4 << 20
	// DefaultMaxMessageBytes bounds one raw mail: 1 GiB.
	DefaultMaxMessageBytes = 1 << 30
)

// consecutiveErrors ends a session: when three mails in a row are refused, the
// host is likely in trouble, not the mails.
const consecutiveErrors = 3

// InboundSettings holds what the inbound options set. A protocol package
// passes an *InboundSettings to [Apply] and a copy to [Inbound.Poll].
type InboundSettings struct {
	BatchSize         int
	LeaveOnServer     bool
	DeleteProcessed   bool
	HandlerTimeout    time.Duration
	HandlerGrace      time.Duration
	MaxAttempts       int
	MaxErrors         int // 0: never
	RetryMin          time.Duration
	RetryMax          time.Duration
	LoopbackInterval  time.Duration // 0: off
	ProcessLoopback   bool
	ParseEmbedded     bool
	ReturnAttachments bool
	ConvertToPlain    bool
	MaxBodyBytes      int64
	MaxMessageBytes   int64
	Limits            mime.Limits
	SubjectPrefixes   mime.SubjectPrefixes // besides Re, Fwd and Fw
}

// NewInboundSettings returns the defaults.
func NewInboundSettings() InboundSettings {
	return InboundSettings{
		BatchSize:         DefaultBatchSize,
		HandlerTimeout:    DefaultHandlerTimeout,
		HandlerGrace:      DefaultHandlerGrace,
		MaxAttempts:       DefaultMaxAttempts,
		RetryMin:          DefaultRetryMin,
		RetryMax:          DefaultRetryMax,
		ParseEmbedded:     true,
		ReturnAttachments: true,
		MaxBodyBytes:      DefaultMaxBodyBytes,
		MaxMessageBytes:   DefaultMaxMessageBytes,
	}
}

func inOption(name string, set func(*InboundSettings) error) Option {
	return NewOption("driver."+name, set)
}

func atLeast[T int | int64 | time.Duration](v, low T) error {
	if v < low {
		return fmt.Errorf("%v is less than %v", v, low)
	}
	return nil
}

// WithBatchSize bounds the mails handed over in one session; default
// [DefaultBatchSize]. A smaller batch repeats fewer mails after a crash of the
// server; more mails wait for the next session ([PollResult].More).
func WithBatchSize(n int) Option {
	return inOption("BatchSize", func(s *InboundSettings) error { s.BatchSize = n; return atLeast(n, 1) })
}

// WithLeaveOnServer leaves mails on the server. What was handed over is
// remembered for as long as the server lists it. The default is to remove.
func WithLeaveOnServer(leave bool) Option {
	return inOption("LeaveOnServer", func(s *InboundSettings) error { s.LeaveOnServer = leave; return nil })
}

// WithDeleteProcessed deletes the raw file of a mail that was handled; by
// default it is moved to the processed directory.
func WithDeleteProcessed(del bool) Option {
	return inOption("DeleteProcessed", func(s *InboundSettings) error { s.DeleteProcessed = del; return nil })
}

// WithHandlerTimeout bounds one call of a handler: after limit its context
// ends, after a further grace the session is given up with [ErrHandlerStuck].
// Defaults are [DefaultHandlerTimeout] and [DefaultHandlerGrace].
func WithHandlerTimeout(limit, grace time.Duration) Option {
	return inOption("HandlerTimeout", func(s *InboundSettings) error {
		s.HandlerTimeout, s.HandlerGrace = limit, grace
		if err := atLeast(limit, 1); err != nil {
			return err
		}
		return atLeast(grace, 0)
	})
}

// WithMaxAttempts sets how often a mail may end in a panic or a killed process
// before it goes to the failed directory; default [DefaultMaxAttempts].
func WithMaxAttempts(n int) Option {
	return inOption("MaxAttempts", func(s *InboundSettings) error { s.MaxAttempts = n; return atLeast(n, 1) })
}

// WithMaxErrors moves a mail to the failed directory after the handler
// returned n errors for it. The default 0 never does: an outage of the host
// must not empty a mailbox into that directory.
func WithMaxErrors(n int) Option {
	return inOption("MaxErrors", func(s *InboundSettings) error { s.MaxErrors = n; return atLeast(n, 0) })
}

// WithRetry sets the back-off of a refused mail: first low, doubled each time,
// at most high. Defaults are [DefaultRetryMin] and [DefaultRetryMax].
func WithRetry(low, high time.Duration) Option {
	return inOption("Retry", func(s *InboundSettings) error {
		s.RetryMin, s.RetryMax = low, high
		if err := atLeast(low, 0); err != nil {
			return err
		}
		return atLeast(high, low)
	})
}

// WithLoopbackDetection blocks a sender for interval once a mail of his was
// handed over, so that two programs cannot answer each other for ever. Mail of
// a blocked sender goes to the loopback directory, or, with process set, is
// handed over with LoopbackCandidate. 0 turns it off, the default. Delivery
// status notifications are exempt.
func WithLoopbackDetection(interval time.Duration, process bool) Option {
	return inOption("LoopbackDetection", func(s *InboundSettings) error {
		s.LoopbackInterval, s.ProcessLoopback = interval, process
		return atLeast(interval, 0)
	})
}

// WithParseEmbedded chooses how an embedded message arrives: as
// EmbeddedMsgX.xml with header and text, its other parts as files of their own
// (true, the default), or whole as EmbeddedMsgX.eml.
func WithParseEmbedded(parse bool) Option {
	return inOption("ParseEmbedded", func(s *InboundSettings) error { s.ParseEmbedded = parse; return nil })
}

// WithReturnAttachments chooses whether attachments become files, the default.
// The original text file is made in any case.
func WithReturnAttachments(yes bool) Option {
	return inOption("ReturnAttachments", func(s *InboundSettings) error { s.ReturnAttachments = yes; return nil })
}

// WithConvertToPlainText turns HTML bodies into plain text; default off.
func WithConvertToPlainText(yes bool) Option {
	return inOption("ConvertToPlainText", func(s *InboundSettings) error { s.ConvertToPlain = yes; return nil })
}

// WithMaxBodyBytes bounds Event.Text and Event.HTML each, in bytes of UTF-8;
// default [DefaultMaxBodyBytes]. The whole body is in a file in any case.
func WithMaxBodyBytes(n int64) Option {
	return inOption("MaxBodyBytes", func(s *InboundSettings) error { s.MaxBodyBytes = n; return atLeast(n, 0) })
}

// WithMaxMessageBytes bounds a raw mail in bytes; default
// [DefaultMaxMessageBytes]. A larger one stays on the server, is reported as
// refused with [ErrLimit], and tried again after a back-off.
func WithMaxMessageBytes(n int64) Option {
	return inOption("MaxMessageBytes", func(s *InboundSettings) error { s.MaxMessageBytes = n; return atLeast(n, 1) })
}

// WithLimits bounds what parsing one mail may cost. A mail beyond a limit goes
// to the failed directory.
func WithLimits(l mime.Limits) Option {
	return inOption("Limits", func(s *InboundSettings) error { s.Limits = l; return nil })
}

// WithSubjectPrefixes has Event.Prefix know prefixes of other languages, e.g.
// those of [mime.LocalSubjectPrefixes], by the one of Re, Fwd and Fw that each
// means. The default is to know these three alone.
func WithSubjectPrefixes(p mime.SubjectPrefixes) Option {
	p = maps.Clone(p)
	return inOption("SubjectPrefixes", func(s *InboundSettings) error { s.SubjectPrefixes = p; return p.Check() })
}
