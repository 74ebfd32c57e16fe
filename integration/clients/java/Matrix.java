import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * What the Java drivers share: how they talk with the Go test that runs them, which is as the
 * Python drivers do (see ../python/driver.py), and their way through the matrix.
 */
final class Matrix {
    /** A client of the matrix. */
    interface Client {
        /** Asks for a request token, and returns what confirms the callback. */
        String requestToken(String callback) throws Exception;

        /** The address that the user opens. */
        String authorizeUrl() throws Exception;

        void accessToken(String verifier) throws Exception;

        void withToken(String key, String secret);

        /** The key and the secret of the client's token. */
        String[] token();

        /** Sends a request, and returns the status of the answer. */
        int send(JsonObject request) throws Exception;
    }

    private static final Gson gson = new Gson();

    static JsonObject arguments(String[] argv) {
        return gson.fromJson(argv[0], JsonObject.class);
    }

    static void run(Client client, JsonObject args) throws Exception {
        JsonObject result = new JsonObject();
        if (text(args, "callback").isEmpty()) {
            client.withToken(text(args, "token"), text(args, "secret"));
        } else {
            result.addProperty("confirmed", client.requestToken(text(args, "callback")));
            JsonObject question = new JsonObject();
            question.addProperty("ask", "authorize");
            question.addProperty("request_token", client.token()[0]);
            question.addProperty("url", client.authorizeUrl());
            client.accessToken(verifier(ask(question)));
        }
        result.addProperty("token", client.token()[0]);
        result.addProperty("secret", client.token()[1]);
        JsonArray all = new JsonArray();
        for (var request : args.getAsJsonArray("requests")) {
            JsonObject r = request.getAsJsonObject(), sent = new JsonObject();
            sent.add("name", r.get("name"));
            sent.addProperty("status", client.send(r));
            all.add(sent);
        }
        result.add("sent", all);
        JsonObject last = new JsonObject();
        last.add("result", result);
        System.out.println(gson.toJson(last));
    }

    private static JsonObject ask(JsonObject question) throws IOException {
        System.out.println(gson.toJson(question));
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        return gson.fromJson(in.readLine(), JsonObject.class);
    }

    private static String verifier(JsonObject answer) {
        if (!answer.has("redirect")) {
            return text(answer, "verifier");
        }
        for (String parameter : URI.create(text(answer, "redirect")).getRawQuery().split("&")) {
            if (parameter.startsWith("oauth_verifier=")) {
                return parameter.substring("oauth_verifier=".length());
            }
        }
        throw new IllegalArgumentException("no verifier in " + answer);
    }

    static String text(JsonObject object, String name) {
        return object.has(name) ? object.get(name).getAsString() : "";
    }

    /** The rows of an array of arrays of text, such as "form" and "files". */
    static List<String[]> rows(JsonObject object, String name) {
        List<String[]> rows = new ArrayList<>();
        for (var row : object.getAsJsonArray(name)) {
            rows.add(gson.fromJson(row, String[].class));
        }
        return rows;
    }
}
