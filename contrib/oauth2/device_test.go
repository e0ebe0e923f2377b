package oauth2_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/oauth2"
	"github.com/maildriver/maildriver/contrib/oauth2/oauth2test"
	"github.com/maildriver/maildriver/driver"
)

func approveAfter(s *oauth2test.Server, d time.Duration, codes *[]oauth2.DeviceCode) func(context.Context, oauth2.DeviceCode) error {
	return func(_ context.Context, c oauth2.DeviceCode) error {
		*codes = append(*codes, c)
		time.AfterFunc(d, s.Approve)
		return nil
	}
}

func TestDevice(t *testing.T) {
	pending := oauth2test.Answer(400, `{"error":"authorization_pending"}`)
	slow := oauth2test.Answer(400, `{"error":"slow_down"}`)
	for name, tt := range map[string]struct {
		interval int
		answers  []http.HandlerFunc
		at       []time.Duration // of the requests for the token
	}{
		"at once":           {5, nil, []time.Duration{5 * time.Second}},
		"server's interval": {30, []http.HandlerFunc{pending}, []time.Duration{30 * time.Second, 60 * time.Second}},
		"no interval is five seconds": {
			0,
			[]http.HandlerFunc{pending, pending},
			[]time.Duration{5 * time.Second, 10 * time.Second, 15 * time.Second},
		},
		"negative interval is five seconds": {-7, nil, []time.Duration{5 * time.Second}},
		"slow down adds five for good": {
			1,
			[]http.HandlerFunc{slow, pending, slow},
			[]time.Duration{1 * time.Second, 7 * time.Second, 13 * time.Second, 24 * time.Second},
		},
		"a server that fails": {
			5,
			[]http.HandlerFunc{oauth2test.Answer(502, ""), pending},
			[]time.Duration{5 * time.Second, 15 * time.Second, 25 * time.Second},
		},
		"a server that is mute": {
			5,
			[]http.HandlerFunc{oauth2test.Mute},
			[]time.Duration{5 * time.Second, 45 * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := oauth2test.New()
				s.Interval = tt.interval
				var codes []oauth2.DeviceCode
				start := time.Now()
				grant, err := config(s).Device(t.Context(), func(_ context.Context, c oauth2.DeviceCode) error {
					codes = append(codes, c)
					s.Approve()
					s.Then(tt.answers...)
					return nil
				})
				require.NoError(t, err)
				assert.Equal(t, "access-secret-1", grant.Access.Value.Reveal())
				assert.Equal(t, "refresh-secret-0", grant.Refresh.Reveal())
				require.Len(t, codes, 1)
				assert.Equal(t, oauth2.DeviceCode{
					UserCode: oauth2test.UserCode, URL: "https://login.example.com/code",
					URLComplete: "https://login.example.com/code?c=" + oauth2test.UserCode, Expiry: codes[0].Expiry,
				}, codes[0])
				assert.WithinDuration(t, start.Add(15*time.Minute), codes[0].Expiry, time.Second)
				reqs := s.Requests()
				var at []time.Duration
				for _, r := range reqs[1:] {
					at = append(at, r.At.Sub(start))
					assert.Equal(t, oauth2test.DeviceCode, r.Form.Get("device_code"))
				}
				assert.Equal(t, tt.at, at)
				assert.Equal(t, "mail offline_access", reqs[0].Form.Get("scope"))
			})
		})
	}
}

func TestDeviceFailures(t *testing.T) {
	device := func(body string) http.HandlerFunc { return oauth2test.Answer(200, body) }
	for name, tt := range map[string]struct {
		change func(*oauth2test.Server)
		limit  time.Duration // of the context; 0: none
		kind   driver.Kind
		is     error
		step   string
		after  time.Duration
	}{
		"denied":           {change: (*oauth2test.Server).Deny, kind: driver.KindAuth, is: oauth2.ErrDenied, step: oauth2.StepToken, after: 5 * time.Second},
		"code ended":       {change: func(s *oauth2test.Server) { s.DeviceLife = 60 }, kind: driver.KindAuth, is: oauth2.ErrDeviceExpired, step: oauth2.StepToken, after: time.Minute},
		"no life":          {change: func(s *oauth2test.Server) { s.DeviceLife = 0 }, kind: driver.KindAuth, is: oauth2.ErrDeviceExpired, step: oauth2.StepToken, after: time.Hour},
		"endless life":     {change: func(s *oauth2test.Server) { s.DeviceLife = 1<<31 - 1 }, kind: driver.KindAuth, is: oauth2.ErrDeviceExpired, step: oauth2.StepToken, after: time.Hour},
		"endless interval": {change: func(s *oauth2test.Server) { s.Interval = 1<<31 - 1; s.Deny() }, kind: driver.KindAuth, is: oauth2.ErrDeviceExpired, step: oauth2.StepToken, after: 15 * time.Minute},
		"expired_token": {
			change: func(s *oauth2test.Server) {
				s.Then(device(`{"device_code":"c","user_code":"u","verification_uri":"https://x.example/"}`), oauth2test.Answer(400, `{"error":"expired_token"}`))
			},
			kind: driver.KindAuth, is: oauth2.ErrDeviceExpired, step: oauth2.StepToken, after: 5 * time.Second,
		},
		"context":      {limit: 7 * time.Second, kind: driver.KindTemporary, is: context.DeadlineExceeded, step: oauth2.StepToken, after: 7 * time.Second},
		"mute":         {change: func(s *oauth2test.Server) { s.Then(oauth2test.Mute) }, kind: driver.KindTemporary, is: context.DeadlineExceeded, step: oauth2.StepDevice, after: 30 * time.Second},
		"wrong client": {change: func(s *oauth2test.Server) { s.ClientID = "other" }, kind: driver.KindAuth, is: oauth2.ErrClientRefused, step: oauth2.StepDevice},
		"garbage":      {change: func(s *oauth2test.Server) { s.Then(device("<html>")) }, kind: driver.KindProtocol, step: oauth2.StepDevice},
		"null":         {change: func(s *oauth2test.Server) { s.Then(device("null")) }, kind: driver.KindProtocol, step: oauth2.StepDevice},
		"nothing":      {change: func(s *oauth2test.Server) { s.Then(device("{}")) }, kind: driver.KindProtocol, step: oauth2.StepDevice},
		"control": {change: func(s *oauth2test.Server) {
			s.Then(device(`{"device_code":"c","user_code":"\u001b[2J","verification_uri":"https://x.example/"}`))
		}, kind: driver.KindProtocol, step: oauth2.StepDevice},
		"address scheme": {change: func(s *oauth2test.Server) {
			s.Then(device(`{"device_code":"c","user_code":"u","verification_uri":"javascript:x"}`))
		}, kind: driver.KindPolicy, step: oauth2.StepDevice},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := oauth2test.New()
				c := config(s)
				if tt.change != nil {
					tt.change(s)
				}
				ctx := t.Context()
				if tt.limit != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.limit)
					defer cancel()
				}
				start := time.Now()
				_, err := c.Device(ctx, func(context.Context, oauth2.DeviceCode) error { return nil })
				require.Error(t, err)
				assert.Equal(t, tt.kind, driver.KindOf(err), "%v", err)
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
				e, ok := errors.AsType[*oauth2.Error](err)
				require.True(t, ok)
				assert.Equal(t, tt.step, e.Step)
				assert.InDelta(t, tt.after, time.Since(start), float64(time.Second))
				noSecret(t, err)
			})
		})
	}
}

func TestDeviceShowFails(t *testing.T) {
	s := oauth2test.New()
	no := errors.New("no terminal")
	_, err := config(s).Device(t.Context(), func(context.Context, oauth2.DeviceCode) error { return no })
	require.ErrorIs(t, err, no)
	assert.Len(t, s.Requests(), 1)
}

// The flow as a whole: authorise once, then refresh for ever.
func TestDeviceThenRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := oauth2test.New()
		s.Rotate = true
		c := config(s)
		var codes []oauth2.DeviceCode
		grant, err := c.Device(t.Context(), approveAfter(s, time.Minute, &codes))
		require.NoError(t, err)
		source, err := c.RefreshToken(grant.Refresh, func(context.Context, driver.Secret) error { return nil })
		require.NoError(t, err)
		for range 3 {
			_, err := source(t.Context())
			require.NoError(t, err)
		}
	})
}
