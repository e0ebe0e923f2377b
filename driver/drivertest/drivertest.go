package drivertest

import (
	"fmt"
	"testing"

	"github.com/maildriver/maildriver/driver"
)

// A Harness says how to try a driver.
type Harness struct {
	// Start gives a case a server of its own: a mailbox that is empty and that
	// nobody else uses, or a relay. What must be ended is left to t.Cleanup.
	Start func(t *testing.T) *Server
	// Positions is at how many places in a session, evenly spread, a case cuts
	// the connection or lets the disk fail; 0 means [DefaultPositions]. Every
	// byte and every operation is tried where there are fewer of them. A slow
	// server wants less.
	Positions int
	// Parallel runs the cases side by side. Start must be ready for that.
	Parallel bool
}

// DefaultPositions is how many positions of a fault are tried.
const DefaultPositions = 40

// A Server is what one case talks to. Its functions are called by one
// goroutine at a time, New excepted.
type Server struct {
	// New makes a driver for the server. opts come from the case and must win
	// over others, so they are listed last; they hold a spool
	// ([driver.WithSpool]), a time-out, and, unless NoNetwork is set, a dialer.
	// The suite closes the driver.
	New func(opts ...driver.Option) (driver.Driver, error)
	// NoNetwork tells that the driver takes no [driver.WithDialer]. The cases
	// that cut connections are left out then.
	NoNetwork bool
	// Dial replaces the network below the suite's dialer; nil means a
	// net.Dialer.
	Dial driver.DialFunc

	// Add puts raw messages, with CRLF line ends, into the mailbox behind
	// those that are there. Drivers that poll need it.
	Add func(raw ...[]byte)
	// Left counts the messages in the mailbox. Drivers that poll need it. If
	// a session that was just cut is still being ended by the server, it
	// waits for that.
	Left func() int

	// From and To are addresses that the server takes: To needs two. Drivers
	// that send need them.
	From string
	To   []string
	// Refused is a recipient that the server refuses for good, "" if there is
	// none.
	Refused string
	// Sent gives the content of the messages that the server took
	// responsibility for, in any order; nil if that cannot be told.
	Sent func() [][]byte
}

// A testCase is a case of the suite.
type testCase struct {
	name string
	why  string // the reason it exists, printed when it fails
	need need
	run  func(e *env)
}

// need is what a driver must be able to do for a case to concern it.
type need uint8

const (
	needPoll need = 1 << iota
	needSend
	needNetwork // takes a dialer
	needLedger  // Server.Sent
	needRefused // Server.Refused
	needNoPoll  // cannot poll
	needNoSend  // cannot send
)

// Run tries a driver with every case that concerns it, each a subtest. A
// driver that can neither poll nor send fails.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.Start == nil {
		t.Fatal("drivertest: Harness.Start is missing")
	}
	ran := 0
	for _, list := range [][]testCase{commonCases, pollCases, troubleCases, endCases, sendCases} {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) {
				if h.Parallel {
					t.Parallel()
				}
				e := newEnv(t, h)
				have := e.have()
				if have&(needPoll|needSend) == 0 {
					t.Fatal("the driver says that it can neither poll nor send")
				}
				if missing := c.need &^ have; missing != 0 {
					t.Skipf("does not concern this driver: it lacks %s", missing)
				}
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("why this matters: %s", c.why)
					}
				})
				c.run(e)
			})
			ran++
		}
	}
	if ran == 0 {
		t.Fatal("drivertest: no case ran")
	}
}

func (n need) String() string {
	names := []string{"polling", "sending", "a dialer", "a ledger of what was sent", "a recipient that is refused", "not polling", "not sending"}
	s := ""
	for i, name := range names {
		if n&(1<<i) != 0 {
			if s != "" {
				s += ", "
			}
			s += name
		}
	}
	if s == "" {
		return fmt.Sprintf("need(%d)", uint8(n))
	}
	return s
}
