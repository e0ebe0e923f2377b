package driver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// polls is a driver whose sessions are scripted; it notes when each began.
type polls struct {
	driver.NoSend
	script []func() (driver.PollResult, error)
	at     []time.Duration
	start  time.Time
	cancel context.CancelFunc
	opts   int
}

func (p *polls) Poll(_ context.Context, _ driver.Handler, opts ...driver.Option) (driver.PollResult, error) {
	p.at = append(p.at, time.Since(p.start))
	p.opts = len(opts)
	if len(p.script) == 0 {
		p.cancel()
		return driver.PollResult{}, nil
	}
	f := p.script[0]
	p.script = p.script[1:]
	return f()
}

func (p *polls) Close() error                      { return nil }
func (p *polls) Capabilities() driver.Capabilities { return driver.Capabilities{Poll: true} }

func temporary() (driver.PollResult, error) {
	return driver.PollResult{}, &driver.Error{Kind: driver.KindTemporary, Err: errors.New("busy")}
}

func idle() (driver.PollResult, error) { return driver.PollResult{}, nil }

func more() (driver.PollResult, error) { return driver.PollResult{More: true}, nil }

func runScript(t *testing.T, d driver.Driver, p *polls, opts ...driver.Option) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.cancel, p.start = cancel, time.Now()
	return driver.Run(ctx, d, nil, append([]driver.Option{driver.WithJitter(0)}, opts...)...)
}

func TestRunCountsTheIntervalFromTheEndOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func() (driver.PollResult, error) { <-time.After(30 * time.Second); return idle() }
		p := &polls{script: []func() (driver.PollResult, error){slow, more, idle}}
		err := runScript(t, p, p, driver.WithPollingInterval(time.Minute))
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, []time.Duration{0, 90 * time.Second, 90 * time.Second, 150 * time.Second}, p.at)
	})
}

func TestRunBacksOffOnTemporaryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &polls{script: []func() (driver.PollResult, error){temporary, temporary, temporary, idle}}
		_ = runScript(t, p, p, driver.WithBackoff(time.Second, 3*time.Second))
		assert.Equal(t, []time.Duration{0, 1 * time.Second, 3 * time.Second, 6 * time.Second, 66 * time.Second}, p.at)
	})
}

func TestRunStopsOnErrorsThatDoNotHeal(t *testing.T) {
	for _, kind := range []driver.Kind{driver.KindConfig, driver.KindPolicy, driver.KindPermanent, driver.KindClosed} {
		p := &polls{script: []func() (driver.PollResult, error){func() (driver.PollResult, error) {
			return driver.PollResult{}, &driver.Error{Kind: kind, Err: errors.New("no")}
		}}}
		err := runScript(t, p, p)
		assert.Equal(t, kind, driver.KindOf(err), "%v", kind)
		assert.Len(t, p.at, 1)
	}
}

func TestRunDoesNotHammerWithAWrongPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &polls{script: []func() (driver.PollResult, error){func() (driver.PollResult, error) {
			return driver.PollResult{}, &driver.Error{Kind: driver.KindAuth, Err: errors.New("no")}
		}}}
		_ = runScript(t, p, p)
		assert.Equal(t, []time.Duration{0, driver.DefaultBackoffMax}, p.at)
	})
}

func TestRunComesBackForARefusedMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &polls{}
		p.script = []func() (driver.PollResult, error){func() (driver.PollResult, error) {
			return driver.PollResult{RetryAt: time.Now().Add(7 * time.Second)}, nil
		}}
		_ = runScript(t, p, p)
		assert.Equal(t, []time.Duration{0, 7 * time.Second}, p.at)
	})
}

func TestRunHandsOnTheOptionsOfPoll(t *testing.T) {
	p := &polls{}
	reports := 0
	_ = runScript(t, p, p, driver.WithBatchSize(3), driver.WithReport(func(driver.PollResult, error) { reports++ }))
	assert.Equal(t, 1, p.opts)
	assert.Equal(t, 1, reports)
}

// told is a driver whose server tells of mail after a while.
type told struct {
	*polls
	after []time.Duration
	fail  bool
}

func (p *told) Wait(ctx context.Context) error {
	if len(p.after) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	d := p.after[0]
	p.after = p.after[1:]
	select {
	case <-time.After(d):
		if p.fail {
			return errors.New("no IDLE")
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *told) Capabilities() driver.Capabilities { return driver.Capabilities{Poll: true, Push: true} }

func TestRunListensToTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &told{polls: &polls{script: []func() (driver.PollResult, error){idle, idle}}, after: []time.Duration{5 * time.Second}}
		_ = runScript(t, p, p.polls)
		assert.Equal(t, []time.Duration{0, 5 * time.Second, 65 * time.Second}, p.at)
	})
}

func TestRunFallsBackToTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &told{polls: &polls{script: []func() (driver.PollResult, error){idle}}, after: []time.Duration{time.Second}, fail: true}
		_ = runScript(t, p, p.polls)
		assert.Equal(t, []time.Duration{0, time.Minute}, p.at)
	})
}

func TestPairRefusesHalvesThatCannot(t *testing.T) {
	can := &polls{}
	_, err := driver.Pair(can, can)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	_, err = driver.Pair(nil, nil)
	assert.Len(t, driver.Faults(err), 3)
	_, err = can.Send(t.Context(), nil)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
