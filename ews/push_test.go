package ews

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
)

// wait is Wait with an end.
func wait(t *testing.T, d *Driver) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return d.Wait(ctx)
}

const newMail = `<t:NewMailEvent><t:ItemId Id="x"/></t:NewMailEvent>`

// E29: envelopes are read however they are cut into pieces, each event wakes,
// and the end of the connection costs a new one and no new subscription.
func TestE29Envelopes(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	streams := 0
	ended := make(chan struct{})
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation != "GetStreamingEvents" {
			return nil
		}
		if streams++; streams > 1 {
			close(ended)
			return nil
		}
		return &ewstest.Response{Write: func(w http.ResponseWriter, _ *http.Request) {
			flush := http.NewResponseController(w)
			write := func(b []byte) {
				_, _ = w.Write(b)
				_ = flush.Flush()
			}
			one := ewstest.StreamEnvelope(newMail, "OK")
			write(append(append([]byte("\r\n"), one...), one...))
			write(one[:10])
			write(one[10:400])
			write(one[400:])
			write(ewstest.StreamEnvelope("<t:StatusEvent/>", "OK"))
			write(ewstest.StreamEnvelope("", "Closed"))
		}}
	})
	d := newDriver(t, srv)
	o := d.set
	s, err := d.connect(t.Context(), &o)
	require.NoError(t, err)
	defer s.close()
	id, err := s.subscribe(t.Context())
	require.NoError(t, err)
	wakes := 0
	n, err := s.events(t.Context(), id, func(news bool) {
		if news {
			wakes++
		}
	})
	require.NoError(t, err)
	assert.Equal(t, 5, n)
	assert.Equal(t, 3, wakes)

	// The same through Wait: after Closed one new connection, the same
	// subscription.
	streams = 0
	srv.ForgetRequests()
	require.NoError(t, wait(t, d), "what came before the subscription is unknown")
	require.Eventually(t, func() bool { d.push.mu.Lock(); defer d.push.mu.Unlock(); return !d.push.running }, 10*time.Second, time.Millisecond, "nobody waits")
	require.NoError(t, wait(t, d), "the events")
	d.push.listing()
	done := make(chan error, 1)
	go func() { done <- wait(t, d) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("no second connection")
	}
	srv.Add(mail("one"))
	require.NoError(t, <-done)
	assert.Len(t, srv.Operations("Subscribe"), 1)
	assert.Len(t, srv.Operations("GetStreamingEvents"), 2)
	for _, r := range srv.Operations("GetStreamingEvents") {
		assert.Equal(t, "true", r.Header.Get("X-Preferserveraffinity"))
		assert.Equal(t, ewstest.User, r.Header.Get("X-Anchormailbox"))
		assert.Equal(t, []string{"29"}, r.Values("ConnectionTimeout"))
	}
}

// E29: a subscription that the server forgot costs a new one and one poll.
func TestE29SubscriptionNotFound(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv, driver.WithLeaveOnServer(true))
	require.NoError(t, wait(t, d))
	poll(t, d, new(taker))
	require.Eventually(t, func() bool { return len(srv.Operations("GetStreamingEvents")) == 1 }, 5*time.Second, time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- wait(t, d) }()
	waiting(t, d)
	srv.DropSubscriptions()
	require.NoError(t, <-done)
	require.Eventually(t, func() bool { return len(srv.Operations("Subscribe")) == 2 }, 5*time.Second, time.Millisecond)
	poll(t, d, new(taker))
	go func() { done <- wait(t, d) }()
	waiting(t, d)
	srv.Add(mail("one"))
	require.NoError(t, <-done)
	var h taker
	poll(t, d, &h)
	assert.Equal(t, []string{"one"}, h.subjects)
	assert.Equal(t, 1, srv.Subscriptions())
}

// waiting returns when somebody waits.
func waiting(t *testing.T, d *Driver) {
	t.Helper()
	require.Eventually(t, func() bool {
		d.push.mu.Lock()
		defer d.push.mu.Unlock()
		return d.push.waiting > 0 && d.push.told != nil
	}, 5*time.Second, time.Millisecond)
}

// Run hands over a mail when it comes, long before its interval is over.
func TestRunIsWoken(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv, driver.WithPollingInterval(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got atomic.Int32
	h := driver.HandlerFunc(func(context.Context, *driver.Event) error {
		if got.Add(1) == 3 {
			return driver.Stop
		}
		return nil
	})
	done := make(chan error, 1)
	go func() { done <- driver.Run(ctx, d, h) }()
	for i := range int32(3) {
		require.Eventually(t, func() bool { return got.Load() == i && srv.Subscriptions() == 1 }, 10*time.Second, time.Millisecond)
		waiting(t, d)
		srv.Add(mail("x"))
	}
	require.NoError(t, <-done)
}

// E30: Close ends a hanging connection at once, and the subscription with it.
func TestE30Close(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv)
	require.NoError(t, wait(t, d))
	d.push.listing()
	done := make(chan error, 1)
	go func() { done <- d.Wait(context.Background()) }()
	require.Eventually(t, func() bool { return len(srv.Operations("GetStreamingEvents")) == 1 }, 5*time.Second, time.Millisecond)
	waiting(t, d)
	start := time.Now()
	require.NoError(t, d.Close())
	assert.Less(t, time.Since(start), time.Second)
	require.ErrorIs(t, <-done, driver.ErrClosed)
	d.push.mu.Lock()
	assert.False(t, d.push.running)
	d.push.mu.Unlock()
	assert.Zero(t, srv.Subscriptions())
	require.NoError(t, d.Close())
}

// The end of the context ends Wait alone: the connection stays for the next.
func TestWaitIsCancelled(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv)
	require.NoError(t, wait(t, d))
	d.push.listing()
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Wait(ctx) }()
		waiting(t, d)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
	assert.Len(t, srv.Operations("Subscribe"), 1)
	assert.LessOrEqual(t, len(srv.Operations("GetStreamingEvents")), 1)
}

// Nobody waits for a server that has no notifications.
func TestNoNotifications(t *testing.T) {
	t.Parallel()
	for _, v := range [][3]int{{8, 1, 436}, {14, 0, 639}} {
		srv := newServer(t, ewstest.WithVersion(v[0], v[1], v[2]))
		d := newDriver(t, srv)
		err := wait(t, d)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorIs(t, err, ErrVersion)
		assert.Empty(t, srv.Operations("Subscribe"))
		srv.Add(mail("one"))
		var h taker
		poll(t, d, &h)
		assert.Equal(t, []string{"one"}, h.subjects)
	}
	d := newDriver(t, newServer(t), WithoutPush())
	require.ErrorIs(t, d.Wait(t.Context()), errors.ErrUnsupported)
	assert.False(t, driver.CapabilitiesOf(d).Push)
}

// What goes wrong with notifications is told to who waits, and tried again by
// the next Wait.
func TestBrokenNotifications(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]*ewstest.Response{
		"cut":         {Cut: true},
		"nothing":     {},
		"no XML":      {Body: []byte("rubbish")},
		"too long":    {Body: []byte("<a>" + strings.Repeat("x", maxEnvelope+1))},
		"status":      {Status: http.StatusForbidden},
		"refused":     ewstest.Refusal("GetStreamingEvents", "ErrorAccessDenied", "", 0, 1),
		"fault":       ewstest.Fault("ErrorInvalidRequest", "", 0),
		"early fault": {Body: ewstest.Fault("ErrorInvalidRequest", "", 0).Body},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			d := newDriver(t, srv)
			var broken atomic.Bool
			broken.Store(true)
			srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
				if r.Operation == "GetStreamingEvents" && broken.Load() {
					return answer
				}
				return nil
			})
			require.NoError(t, wait(t, d))
			// The news of the subscription, and those of the lost connection,
			// may come before the error does.
			require.Eventually(t, func() bool { d.push.listing(); return wait(t, d) != nil }, 10*time.Second, time.Millisecond)
			broken.Store(false)
			d.push.listing()
			done := make(chan error, 1)
			go func() { done <- wait(t, d) }()
			require.Eventually(t, func() bool { return srv.Subscriptions() == 1 }, 5*time.Second, time.Millisecond)
			waiting(t, d)
			srv.Add(mail("one"))
			require.NoError(t, <-done)
			assert.LessOrEqual(t, len(srv.Operations("Subscribe")), 1)
		})
	}
}
