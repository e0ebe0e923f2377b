package smtp

import (
	"fmt"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// A result is what is known of one recipient. Without a reply it is decided
// by what ended the transaction.
type result struct {
	decided  bool
	delivery driver.Delivery
	reply    *ReplyError // the deciding reply, also where it accepts
}

// settle gives every recipient without a result that of f, or of a refusal to
// all.
func settle(results []result, f *failure) {
	for i := range results {
		if !results[i].decided {
			results[i] = result{decided: true, delivery: f.delivery, reply: replyOf(f)}
		}
	}
}

// overall joins the results into one outcome.
func overall(results []result) driver.Delivery {
	var n [driver.DeliveryPartly + 1]int
	for _, r := range results {
		n[r.delivery]++
	}
	switch {
	case n[driver.DeliveryUnknown] > 0:
		return driver.DeliveryUnknown
	case n[driver.DeliveryAccepted] == len(results):
		return driver.DeliveryAccepted
	case n[driver.DeliveryAccepted] > 0:
		return driver.DeliveryPartly
	case n[driver.DeliveryDeferred] > 0:
		return driver.DeliveryDeferred
	}
	return driver.DeliveryRejected
}

// decisive picks the reply that stands for the whole message: the first among
// those that made the outcome what it is, the worst first.
func decisive(results []result, d driver.Delivery) *ReplyError {
	order := []driver.Delivery{d}
	if d == driver.DeliveryPartly {
		order = []driver.Delivery{driver.DeliveryRejected, driver.DeliveryDeferred}
	}
	for _, want := range order {
		for _, r := range results {
			if r.delivery == want && r.reply != nil {
				return r.reply
			}
		}
	}
	return nil
}

// summary names the recipients that were not accepted, with their replies.
func summary(env []driver.Recipient, results []result) error {
	var refused []string
	var first *ReplyError
	for i, r := range results {
		if r.delivery == driver.DeliveryAccepted {
			continue
		}
		if first == nil {
			first = r.reply
		}
		refused = append(refused, env[i].Address)
	}
	return &recipientsError{refused, len(results), first}
}

// A recipientsError is the cause of a send that failed for recipients and not
// as a whole.
type recipientsError struct {
	refused []string
	of      int
	first   *ReplyError
}

const maxNamed = 3

func (e *recipientsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d recipients not accepted", len(e.refused), e.of)
	if e.first != nil {
		fmt.Fprintf(&b, ": %s: %v", strings.Join(e.refused[:min(len(e.refused), maxNamed)], ", "), e.first)
	}
	return b.String()
}

// Unwrap gives the first reply. A nil pointer must not become an error.
func (e *recipientsError) Unwrap() error {
	if e.first == nil {
		return nil
	}
	return e.first
}
