package pop3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// awkward are mails whose bytes a sloppy reader would change.
var awkward = []string{
	"Subject: plain\r\n\r\nbody\r\n",
	"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nx.\r\n",
	"Subject: bare LF\r\n\r\na\n.\nb\n.\r\nc\r\n",
	"Subject: bare CR\r\n\r\na\r.\rb\r\r\nc\r\n",
	"Subject: NUL and 8 bit\r\n\r\n\x00\xff\xfe\r\n",
	"Subject: looks like a reply\r\n\r\n+OK\r\n-ERR\r\n",
	"\r\nno header\r\n",
	"\r\n",
	"Subject: long line\r\n\r\n" + strings.Repeat("z", 200_000) + "\r\n",
	"Subject: many lines\r\n\r\n" + strings.Repeat(".\r\n", 50_000),
}

func TestFetchGivesTheBytesOfTheServer(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		var want []string
		for range 4 { // more than one window
			for _, m := range awkward {
				srv.Add([]byte(m))
				want = append(want, m)
			}
		}
		mb := openBox(t, srv.Addr)
		ids := mustList(t, mb)
		var order []driver.ID
		err := mb.Fetch(t.Context(), ids, func(id driver.ID, r io.Reader) error {
			b, err := io.ReadAll(r)
			assert.Equal(t, want[len(order)], string(b))
			order = append(order, id)
			return err
		})
		require.NoError(t, err)
		assert.Equal(t, ids, order)
		require.NoError(t, mb.Commit(t.Context()))
		assert.Empty(t, srv.Violations())
		if len(opts) > 0 {
			assert.Contains(t, string(srv.Transcripts()[0].Client), "RETR 31\r\nRETR 32\r\n")
		}
	})
}

func TestWindow(t *testing.T) {
	srv := newServer(t) // would call pipelining a violation
	srv.Script(pop3test.Rule{At: pop3test.StepCapa, Do: pop3test.Reply("+OK\r\nPIPELINING\r\nUIDL\r\n.\r\n")})
	for range 5 {
		srv.AddText("a: b\n\nc\n")
	}
	mb := openBox(t, srv.Addr, WithWindow(1))
	ids := mustList(t, mb)
	_, err := fetchAll(t.Context(), mb, ids)
	require.NoError(t, err)
	require.NoError(t, mb.Remove(t.Context(), ids))
	require.NoError(t, mb.Commit(t.Context()))
	assert.Empty(t, srv.Violations())
	assert.Empty(t, srv.Messages())
}

func TestF25VanishedMailIsGone(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		for i := range 3 {
			srv.AddText(fmt.Sprintf("Subject: %d\n\nx\n", i))
		}
		mb := openBox(t, srv.Addr)
		ids := mustList(t, mb)
		srv.Vanish(string(ids[1]))
		got, err := fetchAll(t.Context(), mb, append(ids, "never listed"))
		require.NoError(t, err)
		assert.Len(t, got, 2)
		assert.NotContains(t, got, ids[1])
		require.NoError(t, mb.Remove(t.Context(), ids), "to delete what is gone is no error")
		require.NoError(t, mb.Commit(t.Context()))
		assert.Empty(t, srv.Messages())
	})
}

func TestF21TroubleOfTheServerIsNotAGoneMail(t *testing.T) {
	srv := newServer(t)
	srv.AddText("Subject: x\n\ny\n")
	srv.Script(pop3test.Rule{At: pop3test.StepRetr, Do: pop3test.Reply("-ERR [SYS/TEMP] disk")})
	mb := openBox(t, srv.Addr)
	_, err := fetchAll(t.Context(), mb, mustList(t, mb))
	re, ok := errors.AsType[*ReplyError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, ReplyError{Command: "RETR 1", Code: "SYS/TEMP", Text: "disk"}, *re)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

func TestPutDecides(t *testing.T) {
	failure := errors.New("disk full")
	for _, c := range []struct {
		name string
		put  func(r io.Reader) error
		want error
		gets int
	}{
		{"reads nothing", func(io.Reader) error { return nil }, nil, 3},
		{"reads a bit", func(r io.Reader) error { _, err := io.ReadFull(r, make([]byte, 10)); return err }, nil, 3},
		{"reads on behind the end", func(r io.Reader) error {
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				return errors.New("no second io.EOF")
			}
			return nil
		}, nil, 3},
		{"fails", func(io.Reader) error { return failure }, failure, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
				srv := newServer(t, opts...)
				for range 3 {
					srv.AddText("Subject: x\n\n" + strings.Repeat("y\n", 1000))
				}
				mb := openBox(t, srv.Addr)
				ids := mustList(t, mb)
				gets := 0
				err := mb.Fetch(t.Context(), ids, func(_ driver.ID, r io.Reader) error {
					gets++
					return c.put(r)
				})
				assert.Equal(t, c.gets, gets)
				if c.want != nil {
					assert.Same(t, c.want, err)
					require.Error(t, mb.Commit(t.Context()), "what is in flight makes the session useless")
					assert.NotContains(t, string(srv.Transcripts()[0].Client), "QUIT")
					return
				}
				require.NoError(t, err)
				require.NoError(t, mb.KeepAlive(t.Context()), "in step")
				require.NoError(t, mb.Commit(t.Context()))
			})
		})
	}
}

func TestA20MailBeyondTheLimit(t *testing.T) {
	srv := newServer(t)
	big := crlf("Subject: big\n\n" + strings.Repeat("0123456789\n", 1000))
	srv.Add([]byte(big))
	srv.AddText("Subject: small\n\nx\n")
	for _, c := range []struct {
		limit int64
		ok    bool
	}{{int64(len(big)), true}, {int64(len(big)) - 1, false}, {1, false}} {
		mb := openBox(t, srv.Addr)
		mb.maxMail = c.limit
		ids := mustList(t, mb)
		var errs []error
		err := mb.Fetch(t.Context(), ids, func(_ driver.ID, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			assert.LessOrEqual(t, n, c.limit)
			errs = append(errs, err)
			return nil // the host takes note, and goes on
		})
		require.NoError(t, err)
		require.Len(t, errs, 2, "one mail that is too big stops no other")
		if c.ok {
			require.NoError(t, errs[0])
		} else {
			require.ErrorIs(t, errs[0], driver.ErrLimit)
			assert.Equal(t, driver.KindPermanent, driver.KindOf(errs[0]))
		}
		require.NoError(t, mb.Commit(t.Context()))
	}
}

// endless gives zeros in lines, for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	const line = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
	n := 0
	for n+len(line) <= len(p) {
		n += copy(p[n:], line)
	}
	if n == 0 {
		n = copy(p, "\r\n")
	}
	return n, nil
}

func TestA20MailThatNeverEnds(t *testing.T) {
	srv := newServer(t)
	srv.AddText("Subject: x\n\ny\n")
	// What LIST says is small; what comes is not.
	srv.AddMail(pop3test.Mail{UIDL: "endless", ListSize: "100", Open: sized(maxDrain + 32<<20)})
	mb := openBox(t, srv.Addr, driver.WithMaxMessageBytes(1<<20))
	err := mb.Fetch(t.Context(), mustList(t, mb), func(_ driver.ID, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		if errors.Is(err, driver.ErrLimit) {
			return nil
		}
		return err
	})
	require.ErrorIs(t, err, driver.ErrLimit, "nobody drains for ever")
	require.Error(t, mb.Commit(t.Context()))
}

// sized opens a mail of about n bytes that is nowhere in memory.
func sized(n int64) func() io.Reader {
	return func() io.Reader {
		return io.MultiReader(strings.NewReader("Subject: big\r\n\r\n"), io.LimitReader(endless{}, n), strings.NewReader("\r\nlast line\r\n"))
	}
}

func TestF06BodyThatDrips(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(bytes.Repeat([]byte("x\r\n"), 10_000))
	srv.Script(pop3test.Rule{At: pop3test.StepRetr, Do: pop3test.Drip(5 * time.Millisecond)})
	mb := openBox(t, srv.Addr, driver.WithTimeout(200*time.Millisecond))
	ids := mustList(t, mb)
	begin := time.Now()
	_, err := fetchAll(t.Context(), mb, ids)
	require.Error(t, err)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Less(t, time.Since(begin), 5*time.Second)
}

func TestF17SizesAreHints(t *testing.T) {
	srv := newServer(t)
	raw := []byte("Subject: x\r\n\r\nbody\r\n")
	for _, s := range []string{"0", "1", "999999999999", "-1", "99999999999999999999999999", "lots"} {
		srv.AddMail(pop3test.Mail{Raw: raw, ListSize: s})
	}
	mb := openBox(t, srv.Addr)
	ids, sizes, err := listIDs(t.Context(), mb)
	require.NoError(t, err)
	assert.Equal(t, []int64{0, 1, 999999999999, -1, -1, -1}, sizes)
	got, err := fetchAll(t.Context(), mb, ids)
	require.NoError(t, err)
	for _, id := range ids {
		assert.Equal(t, string(raw), got[id])
	}
}
