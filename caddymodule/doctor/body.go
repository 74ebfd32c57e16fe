package doctor

import "strings"

// isFormType reports whether a Content-Type is that of a form.
func isFormType(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded")
}
