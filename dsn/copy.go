package dsn

import (
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// copyMarkers stand before the copy of the message that came back.
var copyMarkers = []string{
	"original message", "copy of the message", "copy of your message", "copy of the original", "copy of the mail", "unsent message", "returned message", "undelivered message", "message header", "original header",
	"header of the original", "headers of the original", "header of the message", "headers of the message", "message follows", "headers follow", "header follows", "message text follows", "message body follows", "message is attached below", "body of message generated response",
	"mail follows", "text of your message", "start of returned", "returned mail follows", "message contents follow", "first lines of the message", "message transcript",
	"ursprüngliche nachricht", "originalnachricht", "kopie ihrer nachricht", "kopie der nachricht", "message d'origine", "message original", "message d'origine", "en-têtes de message", "mensaje original", "encabezados de mensajes", "mensagem original", "cabeçalhos de mensagens",
	"messaggio originale", "intestazioni originali", "oorspronkelijk bericht", "oorspronkelijke bericht", "исходное сообщение", "копия сообщения", "исходные заголовки", "元のメッセージ", "元のメール", "原文", "原始邮件", "原始郵件",
}

// cutCopy finds the line where the copy of the message begins and reads its
// header; it gives the number of lines if there is no copy.
func (s *scan) cutCopy(lines []string) int {
	for i, l := range lines {
		if len(l) > 200 {
			continue
		}
		if received(l) || strings.HasPrefix(l, "Return-Path: <") && i > 0 && strings.TrimSpace(lines[i-1]) == "" && i+1 < len(lines) && fieldLine(lines[i+1]) {
			start := i
			for start > 0 && (fieldLine(lines[start-1]) || strings.HasPrefix(lines[start-1], " ") || strings.HasPrefix(lines[start-1], "\t")) && strings.TrimSpace(lines[start-1]) != "" {
				start--
			}
			if !fieldLine(lines[start]) {
				start = i
			}
			s.original = headerAt(lines, start)
			return start
		}
		if !isMarker(l) {
			continue
		}
		next := i + 1
		for next < len(lines) && next < i+6 && !fieldLine(lines[next]) && (strings.TrimSpace(lines[next]) == "" || decoration(lines[next]) >= 3) {
			next++
		}
		// Without a header below it the line must look like a rule.
		if next < len(lines) && fieldLine(lines[next]) && !isStatusField(lines[next]) {
			s.original = headerAt(lines, next)
			return i
		}
		if decoration(l) >= 3 {
			return i
		}
	}
	return len(lines)
}

func isMarker(l string) bool {
	low := strings.ToLower(l)
	if strings.Contains(low, "was received") || strings.Contains(low, "separate attachment") || strings.Contains(low, "transcript of session") {
		return false
	}
	for _, m := range copyMarkers {
		if strings.Contains(low, m) {
			return true
		}
	}
	return false
}

// received reports a Received field at the start of a line.
func received(l string) bool {
	if len(l) < 14 || !strings.EqualFold(l[:9], "received:") {
		return false
	}
	v := strings.TrimLeft(l[9:], " \t")
	return strings.HasPrefix(v, "from ") || strings.HasPrefix(v, "by ") || strings.HasPrefix(v, "(")
}

// decoration counts the rule characters at the start of a line.
func decoration(l string) int {
	l = strings.TrimLeft(l, " \t")
	return len(l) - len(strings.TrimLeft(l, "-=*_#~+"))
}

// fieldLine reports "Name: value" at the start of a line.
func fieldLine(l string) bool {
	i := strings.IndexByte(l, ':')
	if i < 2 || i > 60 {
		return false
	}
	for j := range i {
		if c := l[j]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return l[0] >= 'A' && (i+1 == len(l) || l[i+1] == ' ' || l[i+1] == '\t')
}

// headerAt reads a header that begins at a line.
func headerAt(lines []string, start int) mime.Header {
	var b strings.Builder
	for _, l := range lines[start:] {
		if strings.TrimSpace(l) == "" || b.Len() > maxOriginal {
			break
		}
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return mime.ParseHeader([]byte(b.String()))
}
