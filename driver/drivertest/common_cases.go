package drivertest

import (
	"context"
	"errors"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// commonCases concern every driver.
var commonCases = []testCase{
	{
		name: "DoubleClose",
		why:  "hosts close in a defer and again in a signal handler",
		run: func(e *env) {
			d := e.open()
			for i := range 3 {
				if err := d.Close(); err != nil {
					e.Errorf("Close number %d: %v", i+1, err)
				}
			}
		},
	},
	{
		name: "UseAfterClose",
		why:  "a closed driver must say so and touch nothing, so that a host that shuts down knows an orderly end from a failure",
		run: func(e *env) {
			d := e.open()
			c := driver.CapabilitiesOf(d)
			if err := d.Close(); err != nil {
				e.Fatal(err)
			}
			if c.Poll {
				e.add(1)
				_, err := e.poll(e.Context(), d, take)
				e.wantError("Poll", err, driver.ErrClosed)
				e.wantKind("Poll", err, driver.KindClosed)
				e.wantOrder()
				e.wantLeft(1)
			}
			if c.Send {
				rec, err := e.send(e.Context(), d, e.message("closed"))
				e.wantError("Send", err, driver.ErrClosed)
				if rec.Delivery != driver.DeliveryDeferred {
					e.Errorf("the outcome is %v, want deferred: nothing was sent", rec.Delivery)
				}
			}
		},
	},
	{
		name: "UnsupportedPoll",
		why:  "a host finds out which half a driver lacks with errors.ErrUnsupported, not by reading texts",
		need: needNoPoll,
		run: func(e *env) {
			_, err := e.poll(e.Context(), e.open(), take)
			e.wantError("Poll", err, errors.ErrUnsupported)
			if _, err := driver.Pair(e.open(), e.open()); !errors.Is(err, errors.ErrUnsupported) {
				e.Errorf("Pair took it as the half that polls: %v", err)
			}
		},
	},
	{
		name: "UnsupportedSend",
		why:  "a host finds out which half a driver lacks with errors.ErrUnsupported, not by reading texts",
		need: needNoSend,
		run: func(e *env) {
			m := &driver.Message{From: "a@example.com", To: []driver.Recipient{{Address: "b@example.com"}}, Open: source("x\r\n")}
			_, err := e.open().Send(e.Context(), m)
			e.wantError("Send", err, errors.ErrUnsupported)
			if _, err := driver.Pair(e.open(), e.open()); !errors.Is(err, errors.ErrUnsupported) {
				e.Errorf("Pair took it as the half that sends: %v", err)
			}
		},
	},
	{
		name: "ForeignOption",
		why:  "an option that a driver ignores is a setting that the host believes in and that does not hold",
		run: func(e *env) {
			type stranger struct{}
			alien := driver.NewOption("stranger.Setting", func(*stranger) error { return nil })
			faulty := driver.NewOption("faulty.Setting", func(*driver.Common) error { return errors.New("9 is more than 8") })
			check := func(what string, err error) {
				e.Helper()
				e.wantKind(what, err, driver.KindConfig)
				e.wantError(what, err, driver.ErrMisplaced)
				for _, name := range []string{"stranger.Setting", "faulty.Setting", "9 is more than 8"} {
					if err != nil && !strings.Contains(err.Error(), name) {
						e.Errorf("%s: the error does not name %q: %v", what, name, err)
					}
				}
			}
			if d, err := e.srv.New(driver.WithSpool(e.spool), alien, faulty); err == nil {
				e.Errorf("New took an option of a stranger")
				_ = d.Close()
			} else {
				check("New", err)
			}
			d := e.either()
			c := driver.CapabilitiesOf(d)
			if c.Poll {
				e.add(1)
				_, err := e.poll(e.Context(), d, take, alien, faulty)
				check("Poll", err)
				e.wantOrder()
				e.settle(d)
				e.verify()
			}
			if c.Send {
				_, err := e.send(e.Context(), d, e.message("option"), alien, faulty)
				check("Send", err)
				e.mustSend(d, e.message("after"))
			}
		},
	},
	{
		name: "CancelBefore",
		why:  "a host that shuts down must not start another session",
		run: func(e *env) {
			d := e.either()
			ctx, cancel := context.WithCancel(e.Context())
			cancel()
			c := driver.CapabilitiesOf(d)
			if c.Poll {
				e.add(1)
				_, err := e.poll(ctx, d, take)
				e.wantError("Poll", err, context.Canceled)
				e.wantOrder()
				e.wantLeft(1)
			}
			if c.Send {
				rec, err := e.send(ctx, d, e.message("cancelled"))
				e.wantError("Send", err, context.Canceled)
				if rec.Delivery != driver.DeliveryDeferred {
					e.Errorf("the outcome is %v, want deferred: nothing was sent", rec.Delivery)
				}
				e.wantSent()
			}
		},
	},
	{
		name: "ServerGone",
		why:  "a server that cannot be reached is an ordinary day: an error that may pass, that names the place, and that changes nothing",
		need: needNetwork,
		run: func(e *env) {
			d := e.either()
			c := driver.CapabilitiesOf(d)
			e.wire.snap()
			var typed *driver.Error
			if c.Poll {
				e.add(1)
				_, err := e.poll(e.Context(), d, take)
				e.wantKind("Poll", err, driver.KindTemporary)
				if !errors.As(err, &typed) || typed.Addr == "" || typed.Op == "" {
					e.Errorf("the error does not say where: %#v", err)
				}
				e.wantLeft(1)
				e.wire.reset()
				e.settle(d)
				e.verify()
			}
			e.wire.snap()
			if c.Send {
				rec, err := e.send(e.Context(), d, e.message("unreachable"))
				e.wantKind("Send", err, driver.KindTemporary)
				if rec.Delivery != driver.DeliveryDeferred {
					e.Errorf("the outcome is %v, want deferred", rec.Delivery)
				}
				if !errors.As(err, &typed) || typed.Addr == "" || typed.Op == "" {
					e.Errorf("the error does not say where: %#v", err)
				}
				e.wire.reset()
				e.mustSend(d, e.message("reachable"))
			}
		},
	},
}

// either is poller, or open for a driver that may send only.
func (e *env) either() driver.Driver {
	e.Helper()
	if driver.CapabilitiesOf(e.open()).Poll {
		return e.poller()
	}
	return e.open()
}
