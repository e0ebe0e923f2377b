package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/spool"
)

func newMemory(t *testing.T, opts ...driver.Option) (*drivertest.Memory, *drivertest.MemoryDriver) {
	t.Helper()
	m := drivertest.NewMemory()
	t.Cleanup(m.Close)
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	d, err := m.New(append([]driver.Option{driver.WithSpool(sp), driver.WithTimeout(100 * time.Millisecond)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return m, d
}

// TestScript goes through every fault at every verb: whatever it is, the next
// session makes good.
func TestScript(t *testing.T) {
	actions := map[string]drivertest.FaultAction{
		"refuse": drivertest.FaultRefuse, "drop": drivertest.FaultDrop, "reply lost": drivertest.FaultDropReply, "hang": drivertest.FaultHang,
	}
	verbs := []drivertest.Verb{drivertest.VerbDial, drivertest.VerbList, drivertest.VerbFetch, drivertest.VerbRemove, drivertest.VerbCommit}
	for _, verb := range verbs {
		for what, do := range actions {
			t.Run(string(verb)+" "+what, func(t *testing.T) {
				t.Parallel()
				m, d := newMemory(t)
				m.Add([]byte("Subject: one\r\n\r\n1\r\n"), []byte("Subject: two\r\n\r\n2\r\n"))
				m.Script(drivertest.Fault{At: verb, Times: 1, Do: do})
				var got []string
				h := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
					got = append(got, ev.Subject)
					return nil
				})
				_, err := d.Poll(t.Context(), h)
				require.Error(t, err)
				assert.True(t, driver.KindOf(err).Retryable(), "%v", err)
				_, err = d.Poll(t.Context(), h)
				require.NoError(t, err, "the fault was for one time")
				assert.Equal(t, []string{"one", "two"}, got)
				assert.Empty(t, m.Left())
			})
		}
	}
}

func TestScriptOfTheRelay(t *testing.T) {
	for _, c := range []struct {
		at   drivertest.Verb
		do   drivertest.FaultAction
		want driver.Delivery
		sent int
	}{
		{drivertest.VerbFrom, drivertest.FaultRefuse, driver.DeliveryDeferred, 0},
		{drivertest.VerbTo, drivertest.FaultDrop, driver.DeliveryDeferred, 0},
		{drivertest.VerbData, drivertest.FaultRefuse, driver.DeliveryDeferred, 0},
		{drivertest.VerbData, drivertest.FaultDrop, driver.DeliveryUnknown, 0},
		{drivertest.VerbData, drivertest.FaultDropReply, driver.DeliveryUnknown, 1},
		{drivertest.VerbData, drivertest.FaultHang, driver.DeliveryUnknown, 0},
	} {
		t.Run(fmt.Sprint(c.at, c.do), func(t *testing.T) {
			m, d := newMemory(t)
			m.Script(drivertest.Fault{At: c.at, Do: c.do})
			rec, err := d.Send(t.Context(), &driver.Message{
				From: "a@example.com", To: []driver.Recipient{{Address: "b@example.com"}},
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("Subject: x\r\n\r\nx\r\n")), nil },
			})
			require.Error(t, err)
			assert.Equal(t, c.want, rec.Delivery)
			assert.Equal(t, c.want, driver.DeliveryOf(err))
			assert.Len(t, m.Sent(), c.sent)
		})
	}
}

// TestScriptCounts: Skip and Times choose the visits.
func TestScriptCounts(t *testing.T) {
	m, d := newMemory(t)
	m.Script(drivertest.Fault{At: drivertest.VerbList, Skip: 1, Times: 2, Do: drivertest.FaultRefuse})
	var failed []bool
	for range 5 {
		_, err := d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
		failed = append(failed, err != nil)
	}
	assert.Equal(t, []bool{false, true, true, false, false}, failed)
}

// TestVanish: a mail that another client removed after it was listed is gone,
// and no error.
func TestVanish(t *testing.T) {
	m, d := newMemory(t, driver.WithRetry(0, 0))
	m.Add([]byte("Subject: one\r\n\r\n1\r\n"))
	res, err := d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error {
		m.Vanish(1)
		return errors.New("not now")
	}))
	require.NoError(t, err)
	assert.Equal(t, 1, res.Refused)
	// The spool is the mail's only place now: it is offered from there.
	res, err = d.Poll(t.Context(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		assert.True(t, ev.Redelivered)
		return nil
	}))
	require.NoError(t, err)
	assert.Equal(t, 1, res.Delivered)
}

func ExampleNewMemory() {
	m := drivertest.NewMemory()
	defer m.Close()
	m.Refuse("nobody@example.com")
	d, err := m.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = d.Close() }()
	rec, err := d.Send(context.Background(), &driver.Message{
		From: "desk@example.com",
		To:   []driver.Recipient{{Address: "ann@example.com"}, {Address: "nobody@example.com"}},
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("Subject: hi\r\n\r\nhi\r\n")), nil
		},
	})
	fmt.Println(rec.Delivery, driver.DeliveryOf(err), len(m.Sent()))
	// Output: partly partly 1
}
