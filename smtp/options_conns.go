package smtp

import (
	"errors"
	"fmt"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Defaults of the connections that a driver keeps.
const (
	DefaultMaxConnections = 8
	DefaultIdleTime       = 30 * time.Second
	DefaultMaxAge         = 5 * time.Minute
	DefaultMaxMessages    = 500
	// DefaultBackupPeriod is how long the backup server is used before the
	// primary is tried again.
	DefaultBackupPeriod = 5 * time.Minute
)

// standing is what holds for a driver's life and not for one call.
type standing struct {
	lmtp        bool
	conns       int
	idle        time.Duration
	age         time.Duration
	perConn     int
	backup      string
	backupOpts  []driver.Option
	period      time.Duration
	rateMails   int
	rateTo      int
	ratePer     time.Duration
	haveBackup  bool
	haveLimiter bool
	ignored     []string // parameters
}

func defaultStanding() standing {
	return standing{
		conns: DefaultMaxConnections, idle: DefaultIdleTime, age: DefaultMaxAge,
		perConn: DefaultMaxMessages, period: DefaultBackupPeriod,
	}
}

func standingOption(name string, set func(*standing) error) driver.Option {
	return driver.NewOption("smtp."+name, set)
}

// WithLMTP makes the driver speak LMTP (RFC 2033): the server answers for each
// recipient by itself. The port must be named. It is an option of [New].
func WithLMTP() driver.Option {
	return standingOption("LMTP", func(s *standing) error { s.lmtp = true; return nil })
}

// WithMaxConnections sets how many connections the driver has open at most to
// a server; default [DefaultMaxConnections]. A Send that finds them all in use
// waits. With PIPELINING its envelope then goes out right behind the content
// of the message before it (RFC 2920 section 3.1), so that a message costs one
// round trip. It is an option of [New].
func WithMaxConnections(n int) driver.Option {
	return standingOption("MaxConnections", func(s *standing) error {
		if n < 1 {
			return fmt.Errorf("%d is not positive", n)
		}
		s.conns = n
		return nil
	})
}

// WithIdleTime sets how long a connection that nobody uses is kept; default
// [DefaultIdleTime]. With 0 a connection is closed once no Send waits for it.
// It is an option of [New].
func WithIdleTime(d time.Duration) driver.Option {
	return standingOption("IdleTime", func(s *standing) error {
		if d < 0 {
			return fmt.Errorf("%v is negative", d)
		}
		s.idle = d
		return nil
	})
}

// WithMaxAge sets how long a connection may be used, and for how many messages;
// default [DefaultMaxAge] and [DefaultMaxMessages]. 0 lifts a limit. A server
// that offers LIMITS may set a lower number. It is an option of [New].
func WithMaxAge(d time.Duration, messages int) driver.Option {
	return standingOption("MaxAge", func(s *standing) error {
		if d < 0 || messages < 0 {
			return errors.New("a limit is negative")
		}
		s.age, s.perConn = d, messages
		return nil
	})
}

// WithRateLimit bounds what the driver begins to send: in any time of length
// per at most so many messages and so many recipients; 0 is no limit. A
// message with more recipients than that goes alone. Send waits its turn, as
// long as its context permits. It is an option of [New].
func WithRateLimit(messages, recipients int, per time.Duration) driver.Option {
	return standingOption("RateLimit", func(s *standing) error {
		switch {
		case messages < 0 || recipients < 0:
			return errors.New("a limit is negative")
		case per <= 0:
			return fmt.Errorf("%v is not positive", per)
		}
		s.rateMails, s.rateTo, s.ratePer, s.haveLimiter = messages, recipients, per, true
		return nil
	})
}

// WithBackup names a second server, a host or host:port, for when the first
// cannot be reached; see the package comment for when it is used. opts are
// options of package driver for its connections. What they do not set is as
// for the first server, except the login, certificates and server name: those
// of the first are never shown to the second. TLS may not be weaker than for
// the first. It is an option of [New].
func WithBackup(addr string, opts ...driver.Option) driver.Option {
	return standingOption("Backup", func(s *standing) error {
		if _, _, err := splitAddr(addr); err != nil {
			return fmt.Errorf("address: %w", err)
		}
		s.backup, s.backupOpts, s.haveBackup = addr, append([]driver.Option{}, opts...), true
		return nil
	})
}

// WithBackupPeriod sets how long the backup server is used before one message
// tries the first again; default [DefaultBackupPeriod]. A first server that
// fails again soon after it came back is left alone for twice as long, up to
// eight periods. It is an option of [New].
func WithBackupPeriod(d time.Duration) driver.Option {
	return standingOption("BackupPeriod", func(s *standing) error {
		if d <= 0 {
			return fmt.Errorf("%v is not positive", d)
		}
		s.period = d
		return nil
	})
}

// WithAuthFailover uses the backup server also when the first refuses the
// login for good. The default is not to: wrong credentials should be noticed.
func WithAuthFailover(on bool) driver.Option {
	return option("AuthFailover", func(s *settings) error { s.authFailover = on; return nil })
}
