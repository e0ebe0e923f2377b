package pop3

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/spool"
)

func TestNewReportsEveryFault(t *testing.T) {
	_, err := New("mail example:99999",
		driver.WithTimeout(-1), WithWindow(0), WithMaxListing(0), driver.WithBatchSize(0),
		driver.NewOption("smtp.Something", func(*struct{ smtp bool }) error { return nil }))
	require.Error(t, err)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	for _, text := range []string{
		"99999", "driver.Timeout", "pop3.Window", "pop3.MaxListing", "driver.BatchSize", "smtp.Something", "WithLogin", "WithSpool",
	} {
		assert.Contains(t, err.Error(), text)
	}
	require.ErrorIs(t, err, driver.ErrMisplaced)
}

func TestSplitAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"mail.example.com":             "mail.example.com 0",
		"mail.example.com:1110":        "mail.example.com 1110",
		"127.0.0.1:110":                "127.0.0.1 110",
		"::1":                          "::1 0",
		"[::1]":                        "::1 0",
		"[::1]:110":                    "::1 110",
		"[fe80::1%eth0]:110":           "fe80::1%eth0 110",
		"bücher.example":               "bücher.example 0",
		"mail.example.com:":            "",
		"mail.example.com:0":           "",
		"mail.example.com:x":           "",
		"mail.example.com:-1":          "",
		"mail:1:2":                     "",
		"":                             "",
		":110":                         "",
		"mail.example.com\r\nX":        "",
		"mail.example.com\r\nX: y:110": "",
		"a b":                          "",
		"http://mail":                  "",
		"user@mail":                    "",
		"[mail":                        "",
	} {
		host, port, err := driver.SplitAddr(addr)
		if want == "" {
			require.Error(t, err, "A27: %q", addr)
			assert.NotContains(t, err.Error(), "\n")
			continue
		}
		require.NoError(t, err, addr)
		assert.Equal(t, want, host+" "+strconv.Itoa(port))
	}
}

func TestPortFollowsSecurity(t *testing.T) {
	for _, c := range []struct {
		addr string
		sec  driver.Security
		want string
	}{
		{"mail.example.com", driver.SecurityNone, "mail.example.com:110"},
		{"mail.example.com", driver.SecurityExplicit, "mail.example.com:110"},
		{"mail.example.com", driver.SecurityImplicit, "mail.example.com:995"},
		{"mail.example.com:1234", driver.SecurityImplicit, "mail.example.com:1234"},
		{"::1", driver.SecurityNone, "[::1]:110"},
	} {
		d := newDriver(t, c.addr, driver.WithSecurity(c.sec))
		_, err := d.open(t.Context(), &options{
			pop3: d.set.pop3, common: d.set.common, inbound: d.set.inbound,
			net: func() driver.Network {
				n := d.set.net
				n.Dial = refuse
				return n
			}(),
		})
		require.ErrorIs(t, err, errNoDial)
		de, ok := errors.AsType[*driver.Error](err)
		require.True(t, ok)
		assert.Equal(t, c.want, de.Addr)
	}
}

func TestDefaultPortIsNoOtherMailbox(t *testing.T) {
	for _, c := range []struct {
		addr string
		sec  driver.Security
		want int
	}{
		{"mail.example.com", driver.SecurityImplicit, 0},
		{"mail.example.com:110", driver.SecurityNone, 0},
		{"mail.example.com:110", driver.SecurityExplicit, 0},
		{"mail.example.com:995", driver.SecurityImplicit, 0},
		{"mail.example.com:995", driver.SecurityNone, 995},
		{"mail.example.com:110", driver.SecurityImplicit, 110},
		{"mail.example.com:1110", driver.SecurityNone, 1110},
	} {
		d := newDriver(t, c.addr, driver.WithSecurity(c.sec))
		src := d.source(&d.set)
		assert.Equal(t, c.want, src.Port, "%s, %v", c.addr, c.sec)
		assert.Equal(t, "mail.example.com", src.Server)
		assert.Equal(t, pop3test.User, src.Account)
	}
}

func TestOnlyAndCapabilities(t *testing.T) {
	d := newDriver(t, "mail.example.com", Only(driver.WithTimeout(time.Second), WithWindow(3)), driver.WithPollingInterval(time.Hour))
	assert.Equal(t, time.Second, d.set.net.Timeout)
	assert.Equal(t, 3, d.set.pop3.window)
	assert.Equal(t, time.Hour, d.Schedule().Interval)
	assert.Equal(t, driver.Capabilities{Poll: true}, driver.CapabilitiesOf(d))
	_, err := d.Send(t.Context(), &driver.Message{})
	require.ErrorIs(t, err, errors.ErrUnsupported)

	_, err = New("mail.example.com", Only(WithWindow(0)))
	assert.ErrorContains(t, err, "pop3.Window")
}

// TestPoll runs the pipeline: mails become events in the server's order, and
// are gone after it.
func TestPoll(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		for i := range 25 {
			srv.AddText(fmt.Sprintf("From: a@example.com\nSubject: mail %d\n\nbody\n", i))
		}
		d := newDriver(t, srv.Addr, driver.WithBatchSize(10))
		var subjects []string
		ids := make(map[string]bool)
		take := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			subjects, ids[ev.ID] = append(subjects, ev.Subject), true
			assert.Equal(t, "POP3", ev.Protocol)
			raw, err := os.ReadFile(ev.RawFile)
			if assert.NoError(t, err) {
				assert.Equal(t, string(srv.Ledger()[len(subjects)-1].Raw), string(raw))
			}
			return nil
		})
		for _, want := range []int{10, 10, 5} {
			res, err := d.Poll(t.Context(), take)
			require.NoError(t, err)
			assert.Equal(t, want, res.Delivered)
			assert.Equal(t, want, res.Removed)
			assert.Equal(t, want == 10 && len(subjects) < 25, res.More)
		}
		for i, s := range subjects {
			assert.Equal(t, fmt.Sprintf("mail %d", i), s)
		}
		assert.Len(t, ids, 25)
		assert.Empty(t, srv.Messages())
		for _, r := range srv.Ledger() {
			assert.Equal(t, 1, r.Retrieved)
		}
		assert.Empty(t, srv.Violations())
	})
}

func TestOptionsOfOnePollDoNotStay(t *testing.T) {
	srv := newServer(t)
	for range 3 {
		srv.AddText("From: a@example.com\n\nbody\n")
	}
	d := newDriver(t, srv.Addr)
	count := driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil })
	res, err := d.Poll(t.Context(), count, driver.WithBatchSize(1), driver.WithTimeout(time.Second))
	require.NoError(t, err)
	assert.Equal(t, 1, res.Delivered)
	res, err = d.Poll(t.Context(), count)
	require.NoError(t, err)
	assert.Equal(t, 2, res.Delivered)
	_, err = d.Poll(t.Context(), count, driver.WithPollingInterval(time.Hour))
	require.ErrorIs(t, err, driver.ErrMisplaced)
}

// TestA20MailTooBigStopsNoOther runs through the pipeline.
func TestA20MailTooBigStopsNoOther(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		srv.AddText("From: a@example.com\nSubject: first\n\nbody\n")
		srv.AddText("From: a@example.com\nSubject: big\n\n" + strings.Repeat("0123456789\n", 10_000))
		srv.AddText("From: a@example.com\nSubject: last\n\nbody\n")
		d := newDriver(t, srv.Addr, driver.WithMaxMessageBytes(10_000))
		var subjects []string
		take := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			subjects = append(subjects, ev.Subject)
			return nil
		})
		var failures []driver.MailError
		for range 3 {
			res, err := d.Poll(t.Context(), take)
			require.NoError(t, err)
			failures = append(failures, res.Failures...)
		}
		assert.Equal(t, []string{"first", "last"}, subjects)
		require.NotEmpty(t, failures)
		require.ErrorIs(t, failures[0], driver.ErrLimit)
		assert.Len(t, srv.Messages(), 1)
	})
}

func TestCloseEndsPoll(t *testing.T) {
	srv := newServer(t)
	srv.AddText("From: a@example.com\n\nbody\n")
	srv.Script(pop3test.Rule{At: pop3test.StepStat, Do: pop3test.Hang()})
	dialed := make(chan struct{}, 1)
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	defer func() { _ = sp.Close() }()
	d, err := New(srv.Addr, bundle(plainLogin(), []driver.Option{driver.WithSpool(sp), driver.WithDialer(announce(dialed))})...)
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() {
		_, err := d.Poll(context.Background(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
		result <- err
	}()
	<-dialed
	begin := time.Now()
	require.NoError(t, d.Close())
	err = <-result // at once, not after the time-out
	require.ErrorIs(t, err, driver.ErrClosed)
	assert.Equal(t, driver.KindClosed, driver.KindOf(err))
	assert.Less(t, time.Since(begin), driver.DefaultTimeout/2)
	require.NoError(t, d.Close())
	_, err = d.Poll(t.Context(), nil)
	require.ErrorIs(t, err, driver.ErrClosed)
	assert.Len(t, srv.Messages(), 1)
}
