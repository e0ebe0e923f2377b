package smtp

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Defaults of a [Retrier].
const (
	DefaultRetryTries = 5
	DefaultRetryMin   = 30 * time.Second
	DefaultRetryMax   = 30 * time.Minute
)

// A Retrier sends through another sender and repeats what was deferred, with
// growing waits in between; nothing else is repeated, and an unknown outcome
// only if RepeatUnknown says so. It keeps the message in memory of the process
// alone: a queue that outlives it is the host's.
//
// Of a message that was accepted for some, only the recipients that were
// deferred are tried again. A Retrier may be used by any number of goroutines,
// and its fields must not be changed meanwhile.
type Retrier struct {
	// Sender does the tries. Any driver will do.
	Sender driver.Sender
	// Tries is how often a message is tried at most; 0 means
	// [DefaultRetryTries].
	Tries int
	// Min and Max bound the wait before the next try, which doubles with each;
	// 0 means [DefaultRetryMin] and [DefaultRetryMax]. Each wait is cut short
	// by up to a half at random, so that many do not come back as one.
	Min, Max time.Duration
	// RepeatUnknown also repeats where the outcome is unknown. Recipients may
	// then get the message twice; the Message-ID, which stays the same, is all
	// that tells them.
	RepeatUnknown bool
}

var _ driver.Sender = (*Retrier)(nil)

// Send tries until nothing is left to repeat, the tries are used up, or ctx
// ends. The receipt has the last result of each recipient; the error is that
// of the last try, except that one whose outcome is unknown or partly for the
// message as a whole says so.
func (r *Retrier) Send(ctx context.Context, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	tries, wait, limit := r.Tries, r.Min, r.Max
	if tries <= 0 {
		tries = DefaultRetryTries
	}
	if wait <= 0 {
		wait = DefaultRetryMin
	}
	if limit <= 0 {
		limit = DefaultRetryMax
	}
	total := driver.Receipt{Recipients: make([]driver.RecipientReceipt, len(m.To))}
	part, at := *m, make([]int, len(m.To)) // at: where the recipients of part stand in m
	for i := range at {
		at[i] = i
	}
	var last error
	for n := 1; ; n++ {
		rec, err := r.Sender.Send(ctx, &part, opts...)
		merge(&total, rec, at)
		if err != nil {
			last = err
		}
		again := r.again(rec, err, at)
		if len(again) == 0 || n >= tries || !r.pause(ctx, min(wait, limit)) {
			return r.conclude(total, last)
		}
		at = again
		part.To = make([]driver.Recipient, len(at))
		for i, k := range at {
			part.To[i] = m.To[k]
		}
		wait = min(2*wait, limit)
	}
}

// again lists the recipients of a try that may be tried once more.
func (r *Retrier) again(rec driver.Receipt, err error, at []int) []int {
	if err == nil {
		return nil
	}
	switch driver.KindOf(err) {
	case driver.KindClosed, driver.KindConfig, driver.KindPolicy:
		return nil // will not heal by itself
	}
	var list []int
	for i, rr := range rec.Recipients {
		if i < len(at) && (rr.Delivery == driver.DeliveryDeferred || r.RepeatUnknown && rr.Delivery == driver.DeliveryUnknown) {
			list = append(list, at[i])
		}
	}
	return list
}

// pause waits for between a half of d and d, and reports false if ctx ends.
func (r *Retrier) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d - time.Duration(rand.Int64N(int64(d)/2+1))) //nolint:gosec // no secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func merge(total *driver.Receipt, rec driver.Receipt, at []int) {
	whole := rec
	whole.Recipients = total.Recipients
	if whole.SavedFile == "" {
		whole.SavedFile = total.SavedFile
	}
	if whole.BodyFile == "" {
		whole.BodyFile = total.BodyFile
	}
	*total = whole
	for i, rr := range rec.Recipients {
		if i < len(at) {
			total.Recipients[at[i]] = rr
		}
	}
}

// conclude makes one outcome of those of all recipients.
func (r *Retrier) conclude(total driver.Receipt, err error) (driver.Receipt, error) {
	results := make([]result, len(total.Recipients))
	for i, rr := range total.Recipients {
		results[i] = result{decided: true, delivery: rr.Delivery}
	}
	if len(results) == 0 {
		return total, err
	}
	total.Delivery = overall(results)
	if total.Delivery == driver.DeliveryAccepted {
		return total, nil
	}
	if total.Delivery == driver.DeliveryOf(err) {
		return total, err
	}
	return total, &driver.Error{
		Op: "retry", Driver: driverName, Kind: kindOf(total.Delivery),
		Err: &driver.DeliveryError{Delivery: total.Delivery, Err: err},
	}
}
