package drivertest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memoryServer(t *testing.T) *drivertest.Server {
	m := drivertest.NewMemory()
	t.Cleanup(m.Close)
	m.Refuse("nobody@example.com")
	return &drivertest.Server{
		New:  func(opts ...driver.Option) (driver.Driver, error) { return orNil(m.New(opts...)) },
		Dial: m.Dial,
		Add:  m.Add, Left: func() int { return len(m.Left()) },
		From: "a@example.com", To: []string{"b@example.com", "c@example.com"}, Refused: "nobody@example.com",
		Sent: func() (list [][]byte) {
			for _, s := range m.Sent() {
				list = append(list, s.Data)
			}
			return list
		},
	}
}

// orNil keeps a nil pointer from becoming a driver.
func orNil[D driver.Driver](d D, err error) (driver.Driver, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

func TestMemory(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{Start: memoryServer, Parallel: true})
}
