package adminapi

// Health says that the token store does its work, and how the running app is set up.
type Health struct {
	Status       string   `json:"status"`
	Registration string   `json:"registration"`
	Permissions  []string `json:"permissions"`
}
