package smtp

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
)

// TestLabReports mails to the addresses that the lab's Postfix takes and then
// reports on, and reads the reports. The last one takes 15 seconds to come: it
// is waited for only with MAILDRIVER_EXHAUSTIVE.
func TestLabReports(t *testing.T) {
	t.Parallel()
	env := lab(t)
	const user = "u39"
	labtest.Find(t).Mailbox(t, user) // empty, and nobody else's
	want := map[string]string{       // by recipient and action: the status, and the hardness
		"nobody@example.com failed": "5.1.1 hard",
		"full@example.com failed":   "5.2.2 soft",
		"slow@example.com delayed":  "4.4.1 soft",
	}
	if os.Getenv("MAILDRIVER_EXHAUSTIVE") != "" {
		want["slow@example.com failed"] = "4.4.1 soft"
	}
	d := labDriver(t, env["LAB_SMTP"], WithNotify("FAILURE", "DELAY"))
	for _, to := range []string{"nobody", "full", "slow"} {
		m := labMessage(strings.Replace(plainText, "m1@", to+"@", 1), to+"@example.com")
		m.From = user + "@example.com"
		rec, err := send(t, d, m)
		require.NoError(t, err, "taken, and reported on later")
		assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	}
	got := map[string]string{}
	events(t, env, user, func(list []map[string]string) bool {
		for _, f := range list {
			to := f["DsnFinalRecipient"]
			hard := "soft"
			if f["hard"] == "true" {
				hard = "hard"
			}
			got[to+" "+f["DsnAction"]] = f["DsnStatus"] + " " + hard
			assert.Equal(t, "True", f["IsDeliveryStatusNotification"])
			assert.Equal(t, to, f["DsnOriginalEnvelopeId"], "the Message-ID of what was sent")
			assert.Equal(t, to, f["original"])
		}
		return slices.Equal(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	})
	assert.Equal(t, want, got)
}

// TestLabSubmissionRefuses has the answer to a domain that Postfix does not
// know, which with a login is another than without.
func TestLabSubmissionRefuses(t *testing.T) {
	t.Parallel()
	env := lab(t)
	d := labDriver(t, at(env["LAB_SUBMISSION"], "localhost"), labCA(t, env), driver.WithLogin(labUser, labUser+"-secret"), explicit(), driver.WithTimeout(30*time.Second))
	rec, err := send(t, d, labMessage(plainText, "a@elsewhere.example", "u47@example.com"))
	assert.Equal(t, driver.DeliveryPartly, rec.Delivery, "%v", err)
	assert.Equal(t, []any{550, "5.4.4"}, []any{rec.Code, rec.Enhanced})
	assert.Equal(t, driver.DeliveryRejected, rec.Recipients[0].Delivery)
	assert.Equal(t, driver.DeliveryAccepted, rec.Recipients[1].Delivery)
}
