package imap

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

// idleScript is a server with IDLE and one mail, polled already.
func idleScript(t *testing.T, replies ...imaptest.Reply) (*imaptest.Scripted, *Driver, *[]string) {
	t.Helper()
	srv := newScript(t, imaptest.Basic(7, mailA), append(replies, imaptest.Capabilities("IMAP4rev1 UIDPLUS IDLE")...)...)
	d := newDriver(t, srv.Addr, driver.WithLeaveOnServer(true), driver.WithTimeout(300*time.Millisecond))
	var got []string
	_, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	return srv, d, &got
}

// within fails the test if f takes longer than some seconds.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened within 10 s")
	}
}

func TestWaitHearsOfMail(t *testing.T) {
	srv := newServer(t)
	var got []string
	d := newDriver(t, srv.Addr)
	within(t, func() { assert.NoError(t, d.Wait(t.Context())) }) // never polled: a poll is worth while
	_, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() { result <- d.Wait(t.Context()) }()
	require.Eventually(t, func() bool { return said(srv.Commands(), "IDLE") > 0 }, 5*time.Second, time.Millisecond)
	begin := time.Now()
	srv.Add(mails("new")...)
	within(t, func() { assert.NoError(t, <-result) })
	_, err = d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	assert.Equal(t, []string{"new"}, got)
	assert.Less(t, time.Since(begin), 5*time.Second)
}

// Mail that arrives between a poll and the IDLE after it is found at once.
func TestWaitMailBetweenPollAndIdle(t *testing.T) {
	srv := newServer(t)
	srv.Add(mails("first")...)
	var got []string
	d := newDriver(t, srv.Addr, driver.WithLeaveOnServer(true))
	for i := range 3 {
		_, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
		srv.Add(mails("next")...)
		within(t, func() { assert.NoError(t, d.Wait(t.Context()), "round %d", i) })
	}
	assert.Len(t, got, 3)
}

// leaveIdle lets a Wait run until its connection is idle, and be ended by its
// context.
func leaveIdle(t *testing.T, d *Driver) {
	t.Helper()
	for patience := 30 * time.Millisecond; ; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		within(t, func() { assert.ErrorIs(t, d.Wait(ctx), context.DeadlineExceeded) })
		cancel()
		if d.idle != nil && d.idle.tag != "" {
			return
		}
		require.Less(t, patience, 5*time.Second, "no idle connection is left")
	}
}

// A Wait that is ended by its context keeps its connection, and what happens
// before the next Wait is not missed.
func TestWaitGoesOn(t *testing.T) {
	srv := newServer(t)
	var got []string
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	leaveIdle(t, d)
	idles := said(srv.Commands(), "IDLE")
	for range 3 {
		leaveIdle(t, d)
	}
	srv.Add(mails("a")...)
	within(t, func() { assert.NoError(t, d.Wait(t.Context())) })
	assert.Equal(t, idles, said(srv.Commands(), "IDLE"), "one connection and one IDLE for all")
	// polled and removed meanwhile: no second alarm
	_, err = d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	within(t, func() { assert.ErrorIs(t, d.Wait(ctx), context.DeadlineExceeded) })
	assert.Equal(t, []string{"a"}, got)
}

func TestWaitWithoutIdle(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA))
	d := newDriver(t, srv.Addr)
	for range 2 {
		require.ErrorIs(t, d.Wait(t.Context()), errors.ErrUnsupported)
	}
	assert.Equal(t, 0, said(srv.Commands(), "IDLE"))
	assert.Equal(t, 1, srv.Connections(), "it is remembered")
	// Run falls back to its interval.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	polls := 0
	err := driver.Run(ctx, d, driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }),
		driver.WithPollingInterval(10*time.Millisecond), driver.WithReport(func(driver.PollResult, error) {
			if polls++; polls == 3 {
				cancel()
			}
		}))
	require.ErrorIs(t, err, context.Canceled)
}

// Run hands mail over as soon as the server tells of it.
func TestRunIsPushed(t *testing.T) {
	srv := newServer(t)
	d := newDriver(t, srv.Addr)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var seen atomic.Int32
	ended := make(chan error, 1)
	go func() {
		ended <- driver.Run(ctx, d, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			if seen.Add(1) == 5 {
				cancel()
			}
			return nil
		}), driver.WithPollingInterval(time.Hour))
	}()
	for i := range int32(5) {
		require.Eventually(t, func() bool { return seen.Load() >= i }, 10*time.Second, time.Millisecond)
		srv.Add(mails("m")...)
	}
	within(t, func() { assert.ErrorIs(t, <-ended, context.Canceled) })
	assert.EqualValues(t, 5, seen.Load())
}

// An IDLE is renewed in time, by DONE, whose answer has a deadline (F05).
func TestF05IdleIsRenewed(t *testing.T) {
	var rounds atomic.Int32
	srv, d, _ := idleScript(t,
		imaptest.Reply{To: "IDLE", Text: "+ idling\r\n* OK Still here\r\n", Then: imaptest.UntilDone, Do: func() { rounds.Add(1) }})
	d.set.imap.idleRenewal = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- d.Wait(ctx) }()
	require.Eventually(t, func() bool { return rounds.Load() >= 3 }, 5*time.Second, time.Millisecond)
	cancel()
	within(t, func() { assert.ErrorIs(t, <-result, context.Canceled) })
	assert.Equal(t, 2, srv.Connections())
}

func TestF05HalfOpen(t *testing.T) {
	srv, d, _ := idleScript(t, imaptest.Reply{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.Hang})
	d.set.imap.idleRenewal = 20 * time.Millisecond
	begin := time.Now()
	within(t, func() {
		err := d.Wait(t.Context())
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F05: %v", err)
	})
	assert.Less(t, time.Since(begin), 5*time.Second, "F05")
	assert.Equal(t, 2, srv.Connections())
}

// What the server does while nobody listens is found out with the next Wait.
func TestWaitAfterTheServerHungUp(t *testing.T) {
	srv, d, _ := idleScript(t, imaptest.Reply{To: "IDLE", Text: "+ idling\r\n* BYE bored\r\n", Times: 1, Then: imaptest.Drop},
		imaptest.Reply{To: "UID SEARCH UID 2:*", Text: "* SEARCH 5\r\n$ OK done\r\n"},
		imaptest.Reply{To: "IDLE", Text: "+ idling\r\n* 2 EXISTS\r\n", Then: imaptest.UntilDone})
	// The first search says that there is something: make the idler live
	// through one Wait by hand.
	d.mem.saw("INBOX", 7, 6)
	within(t, func() { assert.Error(t, d.Wait(t.Context())) })
	assert.Nil(t, d.idle)
	d.mem.saw("INBOX", 7, 2)
	within(t, func() { assert.NoError(t, d.Wait(t.Context())) })
	assert.Equal(t, 3, srv.Connections())
}

func TestWaitFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		r    imaptest.Reply
		kind driver.Kind
	}{
		{"refused", imaptest.Reply{To: "IDLE", Text: "$ NO not here\r\n"}, driver.KindTemporary},
		{"bad", imaptest.Reply{To: "IDLE", Text: "$ BAD what\r\n"}, driver.KindProtocol},
		{"mute", imaptest.Reply{To: "IDLE", Then: imaptest.Hang}, driver.KindTemporary},
		{"success at once", imaptest.Reply{To: "IDLE", Text: "$ OK done\r\n"}, driver.KindProtocol},
		{"cut", imaptest.Reply{To: "IDLE", Text: "+ idl", Then: imaptest.Drop}, driver.KindTemporary},
		{"garbage", imaptest.Reply{To: "IDLE", Text: "+ idling\r\nwhat is this\r\n", Then: imaptest.Hang}, driver.KindProtocol},
		{"endless line", imaptest.Reply{To: "IDLE", Text: "+ idling\r\n* OK " + strings.Repeat("x", 1<<20), Then: imaptest.Hang}, driver.KindProtocol},
		{"reset", imaptest.Reply{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.Reset}, driver.KindTemporary},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, d, _ := idleScript(t, c.r)
			d.mem.saw("INBOX", 7, 2)
			within(t, func() {
				err := d.Wait(t.Context())
				assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			})
			assert.Nil(t, d.idle)
		})
	}
}

// Close ends a Wait, and the connection that it left.
func TestCloseEndsWait(t *testing.T) {
	srv := newServer(t)
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(new([]string)))
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() { result <- d.Wait(t.Context()) }()
	require.Eventually(t, func() bool { return said(srv.Commands(), "IDLE") > 0 }, 5*time.Second, time.Millisecond)
	require.NoError(t, d.Close())
	within(t, func() { assert.ErrorIs(t, <-result, driver.ErrClosed) })
	require.ErrorIs(t, d.Wait(t.Context()), driver.ErrClosed)
	_, err = d.Poll(t.Context(), take(new([]string)))
	require.ErrorIs(t, err, driver.ErrClosed)
	srv.Settled()
}

// A server that states no UIDNEXT, with nothing in the folder, is asked for the
// mails from 1 on: there is no UID 0.
func TestWaitWithoutUIDNEXT(t *testing.T) {
	selected := "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n$ OK done\r\n"
	srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
		{To: "SELECT", Text: selected},
		{To: "EXAMINE", Text: selected},
		{To: "UID SEARCH UID 0", Text: "$ BAD no such UID\r\n"},
		{To: "UID SEARCH UID 1:* UNDELETED", Times: 1, Text: "* SEARCH\r\n$ OK done\r\n"},
		{To: "UID SEARCH UID 1:* UNDELETED", Text: "* SEARCH 1\r\n$ OK done\r\n"},
		{To: "IDLE", Text: "+ idling\r\n* 1 EXISTS\r\n", Then: imaptest.UntilDone},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS IDLE")...)...)
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(new([]string)))
	require.NoError(t, err)
	within(t, func() { assert.NoError(t, d.Wait(t.Context())) })
}

// Mail that arrives while a poll lists is not in the listing, but in the UIDNEXT
// that the server tells behind it: a Wait must find it all the same.
func TestWaitMailThatCameWithTheListing(t *testing.T) {
	_, d, _ := idleScript(t,
		imaptest.Reply{To: "UID SEARCH ALL", Times: 1, Text: "* SEARCH 1\r\n* 2 EXISTS\r\n* OK [UIDNEXT 3] next\r\n$ OK done\r\n"},
		imaptest.Reply{To: "UID SEARCH UID 2:* UNDELETED", Text: "* SEARCH 2\r\n$ OK done\r\n"},
		imaptest.Reply{To: "UID SEARCH UID 3:* UNDELETED", Text: "* SEARCH 2\r\n$ OK done\r\n"},
		imaptest.Reply{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.UntilDone})
	within(t, func() { assert.NoError(t, d.Wait(t.Context())) })
}

// A Wait that waits for another one follows its own context.
func TestSecondWaitFollowsItsContext(t *testing.T) {
	srv := newServer(t)
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(new([]string)))
	require.NoError(t, err)
	first, end := context.WithCancel(t.Context())
	defer end()
	result := make(chan error, 1)
	go func() { result <- d.Wait(first) }()
	require.Eventually(t, func() bool { return said(srv.Commands(), "IDLE") > 0 }, 5*time.Second, time.Millisecond)
	second, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, func() { assert.ErrorIs(t, d.Wait(second), context.Canceled) })
	end()
	within(t, func() { assert.ErrorIs(t, <-result, context.Canceled) })
}
