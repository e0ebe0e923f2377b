package ewstest

import (
	"crypto/tls"
	"time"

	"github.com/maildriver/maildriver/internal/testcert"
)

// certificate makes one for localhost, 127.0.0.1, ::1 and more names.
func certificate(names []string) tls.Certificate {
	return testcert.New(time.Now().Add(24*time.Hour), append(testcert.LocalNames(), names...)...)
}

func must(err error) {
	if err != nil {
		panic("ewstest: " + err.Error())
	}
}
