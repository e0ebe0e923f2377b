package ews

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/internal/killtest"
)

// bigAnswer makes an answer to GetItem with a message of about size bytes.
func bigAnswer(tb testing.TB, size int64) []byte {
	tb.Helper()
	raw, err := io.ReadAll(killtest.BigMail("big", size))
	require.NoError(tb, err)
	return []byte(contentStart + encode(raw) + `</t:MimeContent><t:ItemId Id="x"/></t:Message></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse></s:Body></s:Envelope>`)
}

// answering makes a server that has one answer for GetItem, and a mailbox at it.
func answering(tb testing.TB, body []byte) (*ewstest.Server, *mailbox) {
	tb.Helper()
	srv := newServer(tb)
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation != "GetItem" {
			return nil
		}
		srv.ForgetRequests()
		return &ewstest.Response{Body: body}
	})
	d := newDriver(tb, srv)
	mb, err := d.open(tb.Context(), &d.set)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = mb.Close() })
	return srv, mb.(*mailbox)
}

// keep writes a message to disk, durably.
func keep(file string, r io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// fetchOne gets the message as the driver does.
func fetchOne(tb testing.TB, m *mailbox, file string) {
	err := m.Fetch(tb.Context(), []driver.ID{"x"}, func(_ driver.ID, r io.Reader) error { return keep(file, r) })
	require.NoError(tb, err)
}

// readOne is the least that must be done: the same body, decoded to disk with the
// standard library.
func readOne(tb testing.TB, c *http.Client, srv *ewstest.Server, file string) {
	body := string(envelopeStart(Exchange2016, &settings{})) + string(getMIME([]itemID{{id: "x"}})(Exchange2016)) + envelopeEnd
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, srv.PlainURL, strings.NewReader(body))
	require.NoError(tb, err)
	req.SetBasicAuth(ewstest.User, ewstest.Password)
	resp, err := c.Do(req)
	require.NoError(tb, err)
	defer func() { _ = resp.Body.Close() }()
	r := bufio.NewReaderSize(resp.Body, 64<<10)
	_, err = io.CopyN(io.Discard, r, int64(len(contentStart)))
	require.NoError(tb, err)
	require.NoError(tb, keep(file, base64.NewDecoder(base64.StdEncoding, &untilTag{r: r})))
	_, _ = io.Copy(io.Discard, resp.Body)
}

// untilTag ends at the next markup.
type untilTag struct {
	r    io.Reader
	over bool
}

func (u *untilTag) Read(p []byte) (int, error) {
	if u.over {
		return 0, io.EOF
	}
	n, err := u.r.Read(p)
	if i := bytes.IndexByte(p[:n], '<'); i >= 0 {
		u.over = true
		return i, nil
	}
	return n, err
}

// BenchmarkGetItem is judged by internal/bench/ews.
func BenchmarkGetItem(b *testing.B) {
	const size = 50 << 20
	body := bigAnswer(b, size)
	file := filepath.Join(b.TempDir(), "mail")
	b.Run("ours", func(b *testing.B) {
		_, m := answering(b, body)
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			fetchOne(b, m, file)
		}
	})
	b.Run("least", func(b *testing.B) {
		srv, _ := answering(b, body)
		c := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		defer c.CloseIdleConnections()
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			readOne(b, c, srv, file)
		}
	})
}

// The benchmark compares the same work: both leave the same file. What is
// allocated does not grow with the message.
func TestGetItemAllocations(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("it measures memory")
	}
	allocated := func(size int64) uint64 {
		srv, m := answering(t, bigAnswer(t, size))
		dir := t.TempDir()
		ours, least := filepath.Join(dir, "ours"), filepath.Join(dir, "least")
		c := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		defer c.CloseIdleConnections()
		readOne(t, c, srv, least)
		fetchOne(t, m, ours)
		a, err := os.ReadFile(ours)
		require.NoError(t, err)
		b, err := os.ReadFile(least)
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b))
		require.NotEmpty(t, a)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fetchOne(t, m, ours)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := allocated(1<<20), allocated(16<<20)
	t.Logf("allocated: %d KiB with 1 MiB, %d KiB with 16 MiB", small>>10, large>>10)
	assert.Less(t, int64(large)-int64(small), int64(1<<20))
}
