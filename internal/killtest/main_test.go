package killtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/smtp"
)

func TestMain(m *testing.M) {
	if killtest.IsChild() {
		os.Exit(killtest.ChildMain(makeDriver))
	}
	goleak.VerifyTestMain(m)
}

func makeDriver(server map[string]string, opts ...driver.Option) (driver.Driver, error) {
	if server["protocol"] == "smtp" {
		return smtp.New(server["addr"], opts...)
	}
	login := []driver.Option{driver.WithLogin(server["user"], server["password"]), driver.WithInsecureAuth()}
	return pop3.New(server["addr"], append(login, opts...)...)
}

// fake makes a POP3 server with n mails, and the job of polling it.
func fake(t *testing.T, n int) (*pop3test.Server, killtest.Job, map[string]string) {
	t.Helper()
	srv := pop3test.NewServer()
	t.Cleanup(srv.Close)
	raw, sums := killtest.Mails(n)
	for _, r := range raw {
		srv.Add(r)
	}
	dir := t.TempDir()
	return srv, killtest.Job{
		Server: map[string]string{"addr": srv.Addr, "user": pop3test.User, "password": pop3test.Password},
		Root:   filepath.Join(dir, "spool"), Journal: filepath.Join(dir, "journal"),
	}, sums
}

// finish runs the poller to its end and checks everything.
func finish(t *testing.T, number string, srv *pop3test.Server, job killtest.Job, sums map[string]string) (entries []killtest.Entry, repeats int) {
	t.Helper()
	job.Point, job.Nth, job.Notices = "", 0, false
	killtest.Start(t, job).Done()
	entries = killtest.ReadJournal(t, job.Journal)
	repeats = killtest.Check(t, entries, sums)
	killtest.CheckFiles(t, job.Root, entries)
	assert.Empty(t, srv.Messages(), "%s: mails are left on the server", number)
	assert.Empty(t, srv.Violations(), number)
	return entries, repeats
}

// killAt runs the poller up to a point and kills it there.
func killAt(t *testing.T, job killtest.Job, point string, nth int) {
	t.Helper()
	job.Point, job.Nth = point, nth
	c := killtest.Start(t, job)
	require.Equal(t, point, c.Stopped(), "the point was not reached")
	c.Kill()
}

// A plan says how the poller dies, time after time.
type plan struct {
	r   *rand.Rand
	log []string
}

// named are points that a random choice seldom hits.
var named = []struct {
	point string
	most  int // the nth visit is one of 1 to most
}{
	{"after write raw part", 6},
	{"after rename raw", 6},
	{"after rename attachment", 6},
	{"after sync directory", 6},
	{"before write current", 8},
	{"after write current", 8},
	{"after sync current", 8},
	{"handler", 8},
	{"journaled", 8},
	{"before remove raw", 6},
	{"send DELE", 1},
	{"send QUIT", 1},
	{"sent QUIT", 1},
	{"answered QUIT", 1},
	{"before write previous part", 1},
	{"after sync previous part", 1},
	{"before replace previous", 1},
	{"after replace previous", 1},
	{"after remove current", 1},
	{"before remove lock", 1},
}

// kill runs the poller once and kills it: at a named point, after some steps,
// or without stopping it in the moment after a hand-over. It returns false if
// the poller came to the end of two sessions first.
func (p *plan) kill(t *testing.T, job killtest.Job, round int) bool {
	t.Helper()
	job.Sessions = 2
	switch round % 5 {
	case 0, 1:
		x := named[(round/5*2+round%5)%len(named)]
		job.Point, job.Nth = x.point, 1+p.r.IntN(x.most)
	case 2:
		job.Nth = 1 + p.r.IntN(250)
	case 3: // between hand-over and record: the one place for a repeat
		job.Point, job.Nth = "journaled", 1+p.r.IntN(8)
	default:
		job.Notices = true
		c := killtest.Start(t, job)
		n := 1 + p.r.IntN(10)
		if !c.Handed(n) {
			return false
		}
		c.Kill()
		p.log = append(p.log, fmt.Sprintf("process %d after %d hand-overs", c.PID(), n))
		return true
	}
	c := killtest.Start(t, job)
	at := c.Stopped()
	if at == "" {
		return false
	}
	c.Kill()
	p.log = append(p.log, fmt.Sprintf("process %d at %q (%q, %d)", c.PID(), at, job.Point, job.Nth))
	return true
}
