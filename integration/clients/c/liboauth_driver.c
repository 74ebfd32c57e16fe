// Drives liboauth as its documentation and its examples say: it signs the requests that libcurl
// sends. It talks with the Go test as the Python drivers do: see ../python/driver.py.
//
// Build: cc liboauth_driver.c $(pkg-config --cflags --libs oauth libcurl jansson)

#include <curl/curl.h>
#include <jansson.h>
#include <oauth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    char *request_token, *access_token; // endpoints
    const char *placement, *consumer, *secret;
    OAuthMethod method;
    char *token, *token_secret;
} client;

typedef struct {
    long status;
    char *body; // ends with a NUL
    size_t size;
} answer;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static const char *text(json_t *object, const char *name) {
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

static void say(json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT);
    printf("\n");
    fflush(stdout);
    json_decref(object);
}

static json_t *ask(json_t *question) {
    static char line[65536];
    say(question);
    if (!fgets(line, sizeof line, stdin)) fail("the test has gone");
    json_t *object = json_loads(line, 0, NULL);
    if (!object) fail("no JSON from the test");
    return object;
}

static char *join(const char *a, const char *b, const char *c) {
    char *s = malloc(strlen(a) + strlen(b) + strlen(c) + 1);
    strcat(strcat(strcpy(s, a), b), c);
    return s;
}

static size_t collect(char *data, size_t size, size_t n, void *to) {
    answer *a = to;
    a->body = realloc(a->body, a->size + size * n + 1);
    memcpy(a->body + a->size, data, size * n);
    a->size += size * n;
    a->body[a->size] = 0;
    return size * n;
}

// A message is a request to send. The parameters are part of the URL, as liboauth expects them; a
// form's parameters are, too.
typedef struct {
    const char *method, *url, *type;
    int form;           // the parameters are a form
    const char *data;   // a body that is not signed
    size_t size;
    json_t *fields, *files; // of multipart
} message;

// perform signs the message, and sends it.
static answer perform(message m) {
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    curl_mime *mime = NULL;
    answer a = {0, calloc(1, 1), 0};

    char **params = NULL;
    int count = oauth_split_url_parameters(m.url, &params);
    if (m.data && client.method != OA_PLAINTEXT) {
        char *hash = oauth_body_hash_data(m.size, m.data);
        oauth_add_param_to_array(&count, &params, hash);
        free(hash);
    }
    oauth_sign_array2_process(&count, &params, NULL, client.method, m.method, client.consumer,
                              client.secret, client.token, client.token_secret);
    // The last argument of oauth_serialize_url_sep: 1 leaves the oauth_ parameters out, 2 leaves
    // all others out, 4 quotes the values.
    char *url = NULL, *body = NULL;
    if (!strcmp(client.placement, "header")) {
        char *header = oauth_serialize_url_sep(count, 1, params, ", ", 6);
        char *line = join("Authorization: OAuth ", header, "");
        headers = curl_slist_append(headers, line);
        free(header);
        free(line);
        url = m.form ? strdup(params[0]) : oauth_serialize_url_sep(count, 0, params, "&", 1);
        body = m.form ? oauth_serialize_url_sep(count, 1, params, "&", 1) : NULL;
    } else if (!strcmp(client.placement, "query")) {
        url = oauth_serialize_url_sep(count, 0, params, "&", m.form ? 2 : 0);
        body = m.form ? oauth_serialize_url_sep(count, 1, params, "&", 1) : NULL;
    } else {
        url = strdup(params[0]);
        body = oauth_serialize_url(count, 1, params);
    }
    oauth_free_array(&count, &params);

    if (m.data) {
        char *type = join("Content-Type: ", m.type, "");
        headers = curl_slist_append(headers, type);
        free(type);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)m.size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, m.data);
    } else if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    } else if (m.files) {
        size_t i;
        json_t *part;
        mime = curl_mime_init(curl);
        json_array_foreach(m.fields, i, part) {
            curl_mimepart *p = curl_mime_addpart(mime);
            curl_mime_name(p, json_string_value(json_array_get(part, 0)));
            curl_mime_data(p, json_string_value(json_array_get(part, 1)), CURL_ZERO_TERMINATED);
        }
        json_array_foreach(m.files, i, part) {
            curl_mimepart *p = curl_mime_addpart(mime);
            curl_mime_name(p, json_string_value(json_array_get(part, 0)));
            curl_mime_filename(p, json_string_value(json_array_get(part, 1)));
            curl_mime_type(p, json_string_value(json_array_get(part, 2)));
            curl_mime_data(p, json_string_value(json_array_get(part, 3)), CURL_ZERO_TERMINATED);
        }
        curl_easy_setopt(curl, CURLOPT_MIMEPOST, mime);
    } else if (!strcmp(m.method, "POST")) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, m.method);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &a);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) fail(curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &a.status);
    curl_easy_cleanup(curl);
    curl_mime_free(mime);
    curl_slist_free_all(headers);
    free(url);
    free(body);
    return a;
}

// parameter returns the value of a parameter of a query or form, or NULL.
static char *parameter(const char *query, const char *name) {
    char **params = NULL, *value = NULL;
    int count = oauth_split_post_paramters(query, &params, 0);
    for (int i = 0; i < count; i++) {
        size_t n = strlen(name);
        if (!strncmp(params[i], name, n) && params[i][n] == '=') value = strdup(params[i] + n + 1);
    }
    oauth_free_array(&count, &params);
    return value;
}

// token_request requests a token, and makes it the client's token.
static char *token_request(const char *endpoint, const char *name, const char *value) {
    char *escaped = oauth_url_escape(value), *query = join(name, "=", escaped);
    char *target = join(endpoint, "?", query);
    int form = !strcmp(client.placement, "body");
    answer a = perform((message){.method = "POST", .url = target, .form = form});
    if (a.status != 200) fail(a.body);
    client.token = parameter(a.body, "oauth_token");
    client.token_secret = parameter(a.body, "oauth_token_secret");
    char *confirmed = parameter(a.body, "oauth_callback_confirmed");
    free(escaped);
    free(query);
    free(target);
    free(a.body);
    return confirmed;
}

// legs gets an access token in three legs.
static void legs(const char *callback, const char *authorize, json_t *result) {
    char *confirmed = token_request(client.request_token, "oauth_callback", callback);
    json_object_set_new(result, "confirmed", json_string(confirmed ? confirmed : ""));
    char *url = join(authorize, "?oauth_token=", client.token);
    json_t *reply = ask(json_pack("{ssssss}", "ask", "authorize", "request_token", client.token,
                                  "url", url));
    const char *redirect = strchr(text(reply, "redirect"), '?');
    char *verifier = redirect ? parameter(redirect + 1, "oauth_verifier")
                              : strdup(text(reply, "verifier"));
    if (!verifier) fail("no verifier");
    token_request(client.access_token, "oauth_verifier", verifier);
    free(verifier);
    free(confirmed);
    free(url);
    json_decref(reply);
}

static char *contents(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) fail(path);
    *size = ftell(f);
    rewind(f);
    char *data = malloc(*size);
    if (fread(data, 1, *size, f) != *size) fail(path);
    fclose(f);
    return data;
}

// with_form returns the URL with a form as its query.
static char *with_form(const char *url, json_t *form) {
    size_t i;
    json_t *pair;
    char *target = strdup(url);
    json_array_foreach(form, i, pair) {
        char *name = oauth_url_escape(json_string_value(json_array_get(pair, 0)));
        char *value = oauth_url_escape(json_string_value(json_array_get(pair, 1)));
        char *part = join(name, "=", value), *longer = join(target, i ? "&" : "?", part);
        free(name);
        free(value);
        free(part);
        free(target);
        target = longer;
    }
    return target;
}

static json_t *send_case(json_t *r) {
    const char *kind = text(r, "kind"), *file = text(r, "body_file");
    message m = {
        .method = text(r, "method"), .url = text(r, "url"), .type = text(r, "content_type")};
    char *made = NULL;
    if (!strcmp(kind, "form")) {
        m.url = made = with_form(m.url, json_object_get(r, "form"));
        m.form = 1;
    } else if (!strcmp(kind, "multipart")) {
        m.fields = json_object_get(r, "form");
        m.files = json_object_get(r, "files");
    } else if (*file) {
        m.data = made = contents(file, &m.size);
    } else if (strcmp(kind, "query")) {
        m.data = text(r, "body");
        m.size = strlen(m.data);
    }
    answer a = perform(m);
    free(a.body);
    free(made);
    return json_pack("{sssi}", "name", text(r, "name"), "status", (int)a.status);
}

// endpoint returns an address of the server. liboauth reads a + in a path as a blank, so it must be
// escaped.
static char *endpoint(json_t *args, const char *name) {
    char *url = strdup(text(json_object_get(args, "endpoints"), name)), *plus;
    while ((plus = strchr(url, '+'))) {
        *plus = 0;
        char *escaped = join(url, "%2B", plus + 1);
        free(url);
        url = escaped;
    }
    return url;
}

// pkcs8 rewrites a private key for Debian's liboauth, which is built with NSS. It signs with no
// other format, and writes "(null)" as the signature if it can't read the key.
static char *pkcs8(const char *dir, const char *pem) {
    size_t size;
    char *in = join(dir, "/", "key.pem"), *out = join(dir, "/", "key.pkcs8.pem");
    FILE *f = fopen(in, "w");
    if (!f || fputs(pem, f) < 0 || fclose(f)) fail(in);
    char *files = join(in, " -out ", out);
    char *command = join("openssl pkcs8 -topk8 -nocrypt -in ", files, "");
    if (system(command)) fail(command);
    char *key = contents(out, &size);
    key = realloc(key, size + 1);
    key[size] = 0;
    free(in);
    free(out);
    free(files);
    free(command);
    return key;
}

int main(int argc, char **argv) {
    json_t *args = argc > 1 ? json_loads(argv[1], 0, NULL) : NULL;
    if (!args) fail("the argument is no JSON");
    const char *method = text(args, "method"), *callback = text(args, "callback");
    client.request_token = endpoint(args, "request_token");
    client.access_token = endpoint(args, "access_token");
    client.placement = text(args, "placement");
    client.consumer = text(args, "consumer");
    client.method = OA_HMAC;
    client.secret = text(args, "consumer_secret");
    if (!strcmp(method, "PLAINTEXT")) client.method = OA_PLAINTEXT;
    if (!strcmp(method, "RSA-SHA1")) {
        client.method = OA_RSA;
        client.secret = pkcs8(text(args, "dir"), text(args, "rsa_key"));
    }
    curl_global_init(CURL_GLOBAL_ALL);

    json_t *result = json_object(), *sent = json_array(), *r;
    if (*callback) {
        legs(callback, text(json_object_get(args, "endpoints"), "authorize"), result);
    } else {
        client.token = strdup(text(args, "token"));
        client.token_secret = strdup(text(args, "secret"));
    }
    size_t i;
    json_array_foreach(json_object_get(args, "requests"), i, r) {
        json_array_append_new(sent, send_case(r));
    }
    json_object_set_new(result, "token", json_string(client.token));
    json_object_set_new(result, "secret", json_string(client.token_secret));
    json_object_set_new(result, "sent", sent);
    say(json_pack("{so}", "result", result));
    return 0;
}
