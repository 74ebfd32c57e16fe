package faults

import (
	"flag"
	"fmt"
	"log"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(toyConfig); config != "" {
		log.Fatal(serveToy(config))
	}
	flag.Parse()
	if testing.Short() {
		fmt.Println("faults: nothing is run with -short")
		return
	}
	var err error
	if builds.dir, err = os.MkdirTemp("", "caddy-oauth1-faults-"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	os.RemoveAll(builds.dir)
	os.Exit(code)
}
