package driver_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// damaged is a mailbox of three mails, one of which the server gives in part.
type damaged struct{ removed []driver.ID }

func (d *damaged) List(context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		for _, id := range []driver.ID{"one", "two", "three"} {
			if !slices.Contains(d.removed, id) && !yield(driver.Entry{ID: id, Size: -1}, nil) {
				return
			}
		}
	}
}

var errDamaged = errors.New("no base64")

type half struct{ r io.Reader }

func (h half) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = &driver.UnreadableError{Err: errDamaged}
	}
	return n, err
}

func (*damaged) Fetch(_ context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	for _, id := range ids {
		var r io.Reader = strings.NewReader("Subject: " + string(id) + "\r\n\r\nx\r\n")
		if id == "two" {
			r = half{r}
		}
		if err := put(id, r); err != nil {
			return err
		}
	}
	return nil
}

func (d *damaged) Remove(_ context.Context, ids []driver.ID) error {
	d.removed = append(d.removed, ids...)
	return nil
}
func (*damaged) Commit(context.Context) error { return nil }
func (*damaged) Close() error                 { return nil }

// A mail that the server cannot give is reported and stays; the others go on,
// and it is not asked for again before its time.
func TestUnreadableMail(t *testing.T) {
	t.Parallel()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	box := &damaged{}
	in := driver.NewInbound()
	c := driver.NewCommon()
	c.Spool = sp
	src := driver.Source{Protocol: "X", Server: "s", Account: "a", Open: func(context.Context) (driver.Mailbox, error) { return box, nil }}
	var subjects []string
	h := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		subjects = append(subjects, ev.Subject)
		return nil
	})
	res, err := in.Poll(t.Context(), src, c, driver.NewInboundSettings(), h)
	require.NoError(t, err)
	assert.Equal(t, []string{"one", "three"}, subjects)
	assert.Equal(t, []driver.ID{"one", "three"}, box.removed)
	assert.Equal(t, 1, res.Refused)
	require.Len(t, res.Failures, 1)
	assert.Equal(t, driver.ID("two"), res.Failures[0].ID)
	require.ErrorIs(t, res.Failures[0], errDamaged)
	assert.False(t, res.RetryAt.IsZero())

	res, err = in.Poll(t.Context(), src, c, driver.NewInboundSettings(), h)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Waiting)
	assert.Len(t, subjects, 2)
}
