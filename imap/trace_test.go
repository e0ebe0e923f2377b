package imap

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTracedHidesContent(t *testing.T) {
	for line, want := range map[string]string{
		"* OK [CAPABILITY IMAP4rev1] \"hi\"": "* OK [CAPABILITY IMAP4rev1] \"hi\"",
		"* 3 EXISTS":                         "* 3 EXISTS",
		`* LIST () "/" INBOX`:                `* LIST () "/" INBOX`,
		"A12 OK done":                        "A12 OK done",
		"T3 NO not now":                      "T3 NO not now",
		"+ idling":                           "+ idling",
		"* 1 FETCH (UID 5 BODY[] {1234}":     "* 1 FETCH (UID 5 BODY[] {1234}",
		`* 1 FETCH (UID 5 BODY[HEADER] "Subject: plans" FLAG)`: "* 1 FETCH (UID 5 BODY[HEADER] [22 bytes]",
		`* 1 fetch (BODY[] "plans")`:                           "* 1 fetch (BODY[] [8 bytes]",
		` FLAGS (\Seen))`:                                      "[15 bytes]",
		")":                                                    "[1 bytes]",
		"Subject: plans":                                       "[14 bytes]",
		"Always plans":                                         "[12 bytes]",
		"":                                                     "[0 bytes]",
	} {
		assert.Equal(t, want, traced('S', []byte(line)), line)
	}
	assert.Equal(t, `A1 SELECT "x"`, traced('C', []byte(`A1 SELECT "x"`)))
}
