package driver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
)

type alpha struct{ n int }

type beta struct{ n int }

func a(n int) driver.Option {
	return driver.NewOption("a.N", func(s *alpha) error {
		s.n = n
		if n < 0 {
			return fmt.Errorf("%d is negative", n)
		}
		return nil
	})
}

func b(n int) driver.Option {
	return driver.NewOption("b.N", func(s *beta) error { s.n = n; return nil })
}

func TestApplyLaterWins(t *testing.T) {
	var x alpha
	require.NoError(t, driver.Apply([]driver.Option{a(1), {}, a(2)}, &x))
	assert.Equal(t, 2, x.n)
}

func TestApplyReportsEveryFault(t *testing.T) {
	var x alpha
	err := driver.Apply([]driver.Option{a(-1), b(1), a(-2)}, &x)
	require.Error(t, err)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	assert.ErrorIs(t, err, driver.ErrMisplaced)
	faults := driver.Faults(err)
	require.Len(t, faults, 3)
	assert.EqualError(t, faults[0], "a.N: -1 is negative")
	assert.EqualError(t, faults[1], "b.N: option not taken here")
}

func TestOnlyIsForOneHalf(t *testing.T) {
	only := driver.NewOnly[alpha]("a.Only", a(7))
	var x alpha
	var y beta
	require.NoError(t, driver.Apply([]driver.Option{only}, &x))
	assert.Equal(t, 7, x.n)
	require.NoError(t, driver.Apply([]driver.Option{only}, &y), "the other half ignores it")
	err := driver.Apply([]driver.Option{driver.NewOnly[alpha]("a.Only", b(1))}, &x)
	assert.ErrorIs(t, err, driver.ErrMisplaced, "but what is inside is checked")
}

func TestSharedOptionsCheckTheirLimits(t *testing.T) {
	set, n, c, s := driver.NewInboundSettings(), driver.NewNetwork(), driver.NewCommon(), driver.NewSchedule()
	bad := []driver.Option{
		driver.WithBatchSize(0), driver.WithHandlerTimeout(0, 0), driver.WithMaxAttempts(0), driver.WithMaxErrors(-1),
		driver.WithRetry(2, 1), driver.WithLoopbackDetection(-1, false), driver.WithMaxBodyBytes(-1), driver.WithMaxMessageBytes(0),
		driver.WithTimeout(0), driver.WithSecurity(9), driver.WithLogin("", "x"), driver.WithLogin("a\r\nDELE 1", "x"), driver.WithLogin("a", "b\n"),
		driver.WithMechanisms("PLAIN\r\n"), driver.WithRootCAs(nil), driver.WithDialer(nil), driver.WithLogger(nil), driver.WithSpool(nil),
		driver.WithFrom("a@x, b@x"), driver.WithFrom(""), driver.WithPollingInterval(0), driver.WithJitter(2), driver.WithBackoff(0, 0),
	}
	err := driver.Apply(bad, &set, &n, &c, &s)
	assert.Len(t, driver.Faults(err), len(bad))
}

func TestA31SecretsDoNotPrint(t *testing.T) {
	n := driver.NewNetwork()
	require.NoError(t, driver.Apply([]driver.Option{driver.WithLogin("u", "hunter2")}, &n))
	js, err := json.Marshal(n.Password)
	require.NoError(t, err)
	for _, s := range []string{
		fmt.Sprint(n), fmt.Sprintf("%+v", n), fmt.Sprintf("%#v", n.Password), fmt.Sprintf("%x", n.Password),
		fmt.Sprintf("%q", n.Password), n.Password.String(), string(js), n.Password.LogValue().String(),
	} {
		assert.NotContains(t, s, "hunter2")
		assert.NotContains(t, s, "68756e74657232")
	}
	assert.Equal(t, "hunter2", n.Password.Reveal())
}

func TestKindAndDeliveryOfErrors(t *testing.T) {
	auth := &driver.Error{Op: "auth", Driver: "SMTP", Addr: "mx:25", Kind: driver.KindAuth, Err: errors.New("no")}
	assert.EqualError(t, auth, "SMTP mx:25 auth: no")
	assert.Equal(t, driver.KindAuth, driver.KindOf(fmt.Errorf("x: %w", auth)))
	assert.Equal(t, driver.KindAuth, driver.KindOf(&driver.Error{Err: auth}), "an error without a kind has that of what it wraps")
	assert.Equal(t, driver.KindUnknown, driver.KindOf(nil))
	assert.Equal(t, driver.DeliveryAccepted, driver.DeliveryOf(nil))
	assert.Equal(t, driver.DeliveryDeferred, driver.DeliveryOf(auth))
	assert.Equal(t, driver.DeliveryUnknown, driver.DeliveryOf(&driver.Error{Kind: driver.KindAmbiguous, Err: &driver.DeliveryError{}}))
	assert.Equal(t, driver.DeliveryRejected, driver.DeliveryOf(&driver.Error{Kind: driver.KindPermanent}))
	assert.False(t, driver.KindAmbiguous.Retryable())
	assert.True(t, driver.KindTemporary.Retryable())
}

func TestNewMessageStreamsTheSameBytesTwice(t *testing.T) {
	m, err := driver.NewMessage(&mime.Draft{
		From: mime.Address{Addr: "a@example.com"}, To: []mime.Address{{Addr: "b@example.com"}}, Bcc: []mime.Address{{Addr: "hidden@elsewhere.example"}},
		Subject: "hi", Text: "hello", Date: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
	})
	require.NoError(t, err)
	assert.Equal(t, []driver.Recipient{{Address: "b@example.com"}, {Address: "hidden@elsewhere.example"}}, m.To)
	first, second := slurp(t, m.Open), slurp(t, m.Open)
	assert.Equal(t, first, second)
	assert.NotContains(t, first, "hidden@elsewhere.example")
	r, err := m.Open()
	require.NoError(t, err)
	require.NoError(t, r.Close(), "closing early leaves no goroutine behind")
}

func TestAutomaticRepliesHaveTheNullPath(t *testing.T) {
	for kind, want := range map[string]string{"": "a@example.com", "auto-generated": "a@example.com", "auto-replied": "", "Auto-Replied; owner=x": ""} {
		m, err := driver.NewMessage(&mime.Draft{From: mime.Address{Addr: "a@example.com"}, To: []mime.Address{{Addr: "b@example.com"}}, AutoSubmitted: kind})
		require.NoError(t, err, kind)
		assert.Equal(t, want, m.From, kind)
	}
}
