package mime

import (
	"strconv"
	"strings"
)

// maxQuoted bounds what a defect or an error repeats of a message.
const maxQuoted = 60

// quoteShort quotes text of a message for a human, cut to a bearable length.
func quoteShort(s string) string {
	s = strings.TrimRight(s, "\r\n")
	cut := ""
	if len(s) > maxQuoted {
		s, cut = s[:maxQuoted], "..."
	}
	return strconv.QuoteToASCII(s) + cut
}
