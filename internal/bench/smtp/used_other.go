//go:build !unix

package main

import (
	"errors"
	"time"
)

func used() (time.Duration, error) {
	return 0, errors.New("the time of the processor is not measured on this system")
}
