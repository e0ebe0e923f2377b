package pop3

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// What is announced is asked for ahead, across calls of Fetch, and read when
// another command comes first.
func TestFetchAhead(t *testing.T) {
	srv := newServer(t, pop3test.WithPipelining())
	for i := range 100 {
		srv.AddText(fmt.Sprintf("Subject: %d\n\nx\n", i))
	}
	srv.Add([]byte("Subject: large\r\n\r\n" + strings.Repeat("x\r\n", aheadBytes)))
	srv.AddText("Subject: behind it\n\nx\n")
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	require.Len(t, ids, 102)
	mb.Announce(ids)
	fetch := func(from, to int) {
		t.Helper()
		var order []driver.ID
		require.NoError(t, mb.Fetch(t.Context(), ids[from:to], func(id driver.ID, r io.Reader) error {
			order = append(order, id)
			_, err := io.Copy(io.Discard, r)
			return err
		}))
		assert.Equal(t, ids[from:to], order)
	}
	fetch(0, 10)
	assert.Len(t, mb.ahead, DefaultWindow-1, "asked for ahead")
	fetch(10, 50)
	require.NoError(t, mb.KeepAlive(t.Context()))
	assert.Empty(t, mb.ahead)
	fetch(50, 80)
	srv.Vanish(string(ids[85]))
	require.NoError(t, mb.Remove(t.Context(), ids[:50]))
	fetch(80, 85)
	got, err := fetchAll(t.Context(), mb, ids[85:100])
	require.NoError(t, err)
	assert.Len(t, got, 14, "one has vanished")
	assert.Empty(t, mb.ahead, "neither the large mail nor what is behind it")
	fetch(100, 102)
	require.NoError(t, mb.Commit(t.Context()))
	assert.Empty(t, srv.Violations())
	assert.Len(t, srv.Messages(), 51)
}

// A poll that stops in the middle leaves replies unread: they are no replies to
// DELE and QUIT.
func TestStopWithMailsAhead(t *testing.T) {
	srv := newServer(t, pop3test.WithPipelining())
	for i := range 60 {
		srv.AddText(fmt.Sprintf("Subject: %d\n\nx\n", i))
	}
	d := newDriver(t, srv.Addr, plainLogin()...)
	n := 0
	res, err := d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error {
		if n++; n == 7 {
			return driver.Stop
		}
		return nil
	}), driver.WithBatchSize(100))
	require.NoError(t, err)
	assert.Equal(t, 7, res.Removed)
	assert.Len(t, srv.Messages(), 53)
	assert.Empty(t, srv.Violations())
}
