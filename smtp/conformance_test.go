package smtp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

func maker(addr string, opts ...driver.Option) func(...driver.Option) (driver.Driver, error) {
	return func(more ...driver.Option) (driver.Driver, error) {
		d, err := smtp.New(addr, append(append([]driver.Option{smtp.WithDataTimeout(15 * time.Second)}, opts...), more...)...)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, fake := range map[string][]smtptest.Option{
		"plain":     nil,
		"pipelined": {smtptest.WithExtensions("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 1000000")},
		"starttls":  {smtptest.WithSTARTTLS()},
	} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Start: func(t *testing.T) *drivertest.Server {
				const nobody = "nobody@example.com"
				srv := smtptest.NewServer(append(fake, smtptest.WithRefused(nobody))...)
				t.Cleanup(func() {
					srv.Close()
					assert.Empty(t, srv.Violations())
				})
				var opts []driver.Option
				if name == "starttls" {
					opts = append(opts, driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(srv.RootCAs()))
				}
				return &drivertest.Server{
					New:  maker(srv.Addr(), opts...),
					From: "a@example.com", To: []string{"b@example.com", "c@example.com"}, Refused: nobody,
					Sent: func() (list [][]byte) {
						for _, m := range srv.Messages() {
							list = append(list, m.Data)
						}
						return list
					},
				}
			}})
		})
	}
}

// TestConformanceLab puts the driver through the same cases on Postfix, which
// delivers to a mailbox that no other test reads.
func TestConformanceLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: 10, Start: func(t *testing.T) *drivertest.Server {
		return &drivertest.Server{
			New:  maker(lab.Addr(t, "LAB_SMTP")),
			From: "u48@example.com", To: []string{"u48@example.com", "u49@example.com"}, Refused: "reject@example.com",
		}
	}})
}
